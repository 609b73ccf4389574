import { native } from '../../src/native.ts'
import type { Device } from '../../src/tensor/device.ts'

/**
 * Every device that the tables of cases run on: REPA_TEST_DEVICES where it is set (the suite's second run asks for the GPU
 * that native/simt makes of the CPU), else the CPU and the GPUs that are here. A named device that is missing has its tests
 * counted as skipped.
 */
export const DEVICES: readonly { device: Device; missing: boolean }[] = (
  process.env.REPA_TEST_DEVICES?.split(',') ?? ['cpu', ...gpus()]
).map((device) => ({ device, missing: device !== 'cpu' && !gpus().includes(device) }))

/** Whether the GPU here is the one that native/simt makes of the CPU: it does in a minute what a chip does in a millisecond. */
export const isShim = native()
  .cudaInfo()
  .devices.some(({ name }) => name.includes('SIMT'))

function gpus(): Device[] {
  return native()
    .cudaInfo()
    .devices.filter(({ usable }) => usable)
    .map(({ ordinal }) => `cuda:${ordinal}`)
}
