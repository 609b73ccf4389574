import { expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

const MIB = 2 ** 20

test('code that a kernel needs gets the memory that is only cached, and without any the process goes on', () => {
  const { status, stdout, stderr } = runProgram('loaded-code', {
    env: { REPA_SIMT_MEMORY: String(64 * MIB), REPA_SIMT_CODE: String(MIB) },
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const { said, cachedBefore, afterActivation, values } = JSON.parse(stdout)
  expect(said).toEqual([
    expect.stringMatching(
      /^ERR_OUT_OF_MEMORY activation: CUDA refused to launch activationKernel<.*out of memory.*smaller batch/,
    ),
    expect.stringMatching(
      /^ERR_OUT_OF_MEMORY linear: CUDA refused to launch gemmFfmaKernel<.*out of memory.*smaller batch/,
    ),
  ])
  expect(cachedBefore).toBeGreaterThan(60 * MIB)
  expect(afterActivation).toBe(0)
  // GELU of one half; eight products of one half with itself.
  expect(values[0]).toBeCloseTo(0.345714, 5)
  expect(values[1]).toBe(2)
})
