import { expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

/** By what sees it: a GPU tells of a fault at some later call, and does not say whose it is. */
const SEEN = [
  ['memory', 3, 'Taking memory of cuda:0 failed'],
  [
    'work',
    2,
    String.raw`fill failed on cuda:0: CUDA failed to launch \S*elementwiseKernel<.*> with .* bytes of shared memory`,
  ],
] as const

test.each(SEEN)("a kernel's fault that %s sees first is said there, and from then on", (where, times, what) => {
  const { status, stdout, stderr } = runProgram('faulty-kernel', {
    args: [where],
    env: { REPA_SIMT_FAULT: 'activation' },
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const lines = stdout.trimEnd().split('\n')
  expect(lines).toEqual(Array(times).fill(lines[0]))
  expect(lines[0]).toMatch(
    new RegExp(
      String.raw`^ERR_DEVICE_FAILED ${what}: an illegal memory access was encountered \(cudaErrorIllegalAddress\)\. ` +
        String.raw`The GPU is lost to this process; start a new one, with CUDA_LAUNCH_BLOCKING=1 for an error that names the operation that did it\.$`,
    ),
  )
})
