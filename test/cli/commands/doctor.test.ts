import { afterEach, expect, test, vi } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

afterEach(() => {
  vi.doUnmock('../../../src/native.ts')
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  vi.resetModules()
})

test('tells what there is, for people', async () => {
  const { status, stdout, stderr } = await repa('doctor')
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  for (const label of ['repa-native', 'Node', 'addon', 'cpu', 'cuBLASLt', 'NCCL', 'MPI', 'sharp', 'self-test']) {
    expect(stderr).toMatch(new RegExp(`^${label} +\\S`, 'm'))
  }
  expect(stderr).toMatch(/^cuda(:\d+)? +(this build|there is|the NVIDIA driver|no GPU here|.*compute capability)/m)
  expect(stderr).toMatch(/^self-test +passed: /m)
})

test('and for programs', async () => {
  const { status, stdout, stderr } = await repa('doctor', '--json')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const diagnosis = JSON.parse(stdout)
  expect(diagnosis).toMatchObject({ healthy: true, addon: { loaded: true }, selfTest: { passed: true } })
  expect(diagnosis.cpu.levels).toContain(diagnosis.cpu.level)
  expect(diagnosis.rate.gemm).toBeGreaterThan(0)
  expect(diagnosis.node).toBe(process.version)
})

test('works where the addon does not load, says why and fails', async () => {
  const reason = 'repa-native could not load its addon for here.'
  vi.doMock('../../../src/native.ts', () => ({
    native: () => {
      throw new Error(reason)
    },
  }))
  vi.resetModules()
  const { status, stdout, stderr } = await repa('doctor', '--json')
  expect({ status, stderr }).toEqual({ status: 1, stderr: `repa doctor: ${reason}\n` })
  expect(JSON.parse(stdout)).toMatchObject({ healthy: false, addon: { loaded: false, reason }, advice: [] })
})

test('an addon whose CPU device does not start has loaded nevertheless', async () => {
  const reason = 'The CPU device needs 64 threads, and the system gives no more.'
  const { native } = await import('../../../src/native.ts')
  vi.spyOn(native(), 'cpuInfo').mockImplementation(() => {
    throw new Error(reason)
  })
  const failure = `repa doctor: The CPU device does not start: ${reason}\n`
  const told = await repa('doctor')
  expect(told.status).toBe(1)
  expect(told.stderr).toMatch(/^addon +loaded$/m)
  expect(told.stderr).toMatch(new RegExp(`^cpu +does not start: ${reason}$`, 'm'))
  expect(told.stderr.endsWith(failure)).toBe(true)

  vi.stubEnv('REPA_THREADS', '100000')
  const { status, stdout, stderr } = await repa('doctor', '--json')
  expect({ status, stderr }).toEqual({ status: 1, stderr: failure })
  const diagnosis = JSON.parse(stdout)
  expect(diagnosis).toMatchObject({ healthy: false, addon: { loaded: true }, cpu: { reason } })
  expect(diagnosis.cuda.state).toBeTypeOf('string')
  expect(diagnosis.advice).toContainEqual(expect.stringMatching(/^100000 threads compete .*: set REPA_THREADS=\d+\.$/))
})

test('fails where a kernel computes wrongly, naming the check', async () => {
  const { native } = await import('../../../src/native.ts')
  const addon = native()
  const { attention } = addon
  vi.spyOn(addon, 'attention').mockImplementation((...all) => {
    const [out, lse] = attention(...all)
    return [addon.scale(out, 1.01), lse]
  })
  const { status, stderr } = await repa('doctor', '--quiet')
  expect(status).toBe(1)
  expect(stderr).toMatch(/^repa doctor: The kernels compute wrongly on this machine: attention, /)
})
