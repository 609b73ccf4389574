import { isHopper } from '../benchmark/gpus.ts'
import { native } from '../native.ts'
import { type Device, gpuOf } from '../tensor/device.ts'
import type { PlannedMachine } from './planner.ts'

/** What is planned for where a step will run on a device that is here. */
export function machineOf(device: Device): PlannedMachine {
  const gpu = gpuOf(device)
  return {
    threads: native().cpuInfo().threads,
    multiprocessors: gpu?.multiprocessors ?? 0,
    isHopper: gpu !== undefined && isHopper(gpu),
  }
}
