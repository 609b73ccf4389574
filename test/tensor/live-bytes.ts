import { setImmediate as turn } from 'node:timers/promises'
import { type Device, memoryStats } from '../../src/tensor/device.ts'
import { collectGarbage } from '../collect-garbage.ts'

/**
 * Bytes of a device's tensors, once those that nobody disposed and nobody can reach are gone: the collector may take what other tests left
 * while one waits, which then counts less than before.
 */
export async function reachableBytes(device: Device): Promise<number> {
  collectGarbage()
  // What is collected is given back in a turn of its own.
  await turn()
  await turn()
  return memoryStats(device).liveBytes
}
