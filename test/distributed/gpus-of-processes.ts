/** Which device each of several processes of a test computes on. */
import { join } from 'node:path'
import { native } from '../../src/native.ts'
import { isShim } from '../tensor/devices.ts'

// The shim's GPU may be shared; NCCL lets no two processes share one.
if (isShim) process.env.REPA_NCCL = join(import.meta.dirname, '../../build/simt/libnccl_fake.so')

const gpus = native()
  .cudaInfo()
  .devices.filter(({ usable }) => usable)

/** Where process `rank` computes, of those of which the first is on `device`. */
export function deviceOfProcess(device: string, rank: number): string {
  if (device === 'cpu' || isShim) return device
  const first = gpus.findIndex(({ ordinal }) => device === `cuda:${ordinal}`)
  return `cuda:${gpus[first + rank]!.ordinal}`
}

/** How many processes there can be on a device and the next ones; 0, with a reason, where they could not exchange anything. */
export function mostProcesses(device: string): { count: number; lacking?: string } {
  if (device === 'cpu' || isShim) return { count: Number.POSITIVE_INFINITY }
  try {
    native().communicatorId(device, 1)
  } catch (error) {
    return { count: 0, lacking: (error as Error).message }
  }
  return { count: gpus.length - gpus.findIndex(({ ordinal }) => device === `cuda:${ordinal}`) }
}
