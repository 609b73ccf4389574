import { native } from '../../src/native.ts'
import type { Device } from '../../src/tensor/device.ts'

/** Every device that the tables of cases run on; where one is missing, its tests are counted as skipped. */
export const DEVICES: readonly { device: Device; missing: boolean }[] = ['cpu', 'cuda:0'].map((device) => ({
  device,
  missing: !isHere(device),
}))

function isHere(device: Device): boolean {
  try {
    native().memoryStats(device)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_DEVICE') return false
    throw error
  }
}
