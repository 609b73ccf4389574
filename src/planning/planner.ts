import type { NativeTensor } from '../native.ts'
import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import { AllocatorModel } from './allocator-model.ts'
import { Ledger } from './ledger.ts'
import { handleOf, PlannedStorage, PlannedTensor, plannedOf } from './planned-tensor.ts'

/** What the planned machine has, where an operation's workspace depends on it. */
export interface PlannedMachine {
  /** Of a CPU. */
  readonly threads: number
  /** Of a GPU. */
  readonly multiprocessors: number
  /** Whether a GPU runs the kernels of sm_90a. */
  readonly isHopper: boolean
}

/** What the rules of all operations write to: memory by the device's allocator, booked in a ledger. */
export class Planner {
  readonly machine: PlannedMachine
  readonly allocator = new AllocatorModel()
  readonly ledger = new Ledger()

  constructor(machine: PlannedMachine) {
    this.machine = machine
  }

  /** A new tensor. */
  make(shape: readonly number[], dtype: DType, device: string): NativeTensor {
    const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
    const storage = new PlannedStorage(bytes, this.allocator, this.ledger, this.ledger.purpose)
    return handleOf(new PlannedTensor(storage, [...shape], dtype, device))
  }

  /** A new tensor beside another one, of its shape and dtype unless given. */
  like(handle: NativeTensor, shape?: readonly number[], dtype?: DType): NativeTensor {
    const tensor = plannedOf(handle)
    return this.make(shape ?? tensor.shape, dtype ?? tensor.dtype, tensor.device)
  }

  /** Memory that an operation takes while it is enqueued. */
  workspace(bytes: number): void {
    if (bytes > 0) new PlannedStorage(bytes, this.allocator, this.ledger, 'workspace').release()
  }
}

/** Whether a device's operations are the CPU's. */
export const isOnCpu = (handle: NativeTensor) => plannedOf(handle).device === 'cpu'
