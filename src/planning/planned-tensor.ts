import type { NativeTensor } from '../native.ts'
import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import type { AllocatorModel, PlannedBlock } from './allocator-model.ts'
import type { Ledger, Purpose } from './ledger.ts'

/** A block that several tensors may share, given back with the last of them. */
export class PlannedStorage {
  readonly #block: PlannedBlock
  readonly #allocator: AllocatorModel
  readonly #ledger: Ledger
  #purpose: Purpose
  users = 1

  constructor(bytes: number, allocator: AllocatorModel, ledger: Ledger, purpose: Purpose) {
    this.#block = allocator.allocate(bytes)
    this.#allocator = allocator
    this.#ledger = ledger
    this.#purpose = purpose
    ledger.take(purpose, this.#block.bytes)
  }

  get bytes(): number {
    return this.#block.bytes
  }

  /** Books the block under another purpose. */
  assign(purpose: Purpose): void {
    this.#ledger.give(this.#purpose, this.bytes)
    this.#purpose = purpose
    this.#ledger.take(purpose, this.bytes)
  }

  release(): void {
    if (--this.users > 0) return
    this.#ledger.give(this.#purpose, this.bytes)
    this.#allocator.release(this.#block)
  }
}

/** A tensor of the planning device: a shape and a dtype on a block that is not there. */
export class PlannedTensor {
  readonly storage: PlannedStorage
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly device: string
  /** Of the first element in the block, in elements. */
  readonly offset: number
  #disposed = false

  constructor(storage: PlannedStorage, shape: readonly number[], dtype: DType, device: string, offset = 0) {
    this.storage = storage
    this.shape = shape
    this.dtype = dtype
    this.device = device
    this.offset = offset
  }

  get elements(): number {
    return elementCount(this.shape)
  }

  get bytes(): number {
    return this.elements * DTYPE_BYTES[this.dtype]
  }

  /** The size of an axis, the last ones counted from −1. */
  size(axis: number): number {
    const size = this.shape.at(axis)
    if (size === undefined) throw new RangeError(`A planned tensor of shape [${this.shape}] has no axis ${axis}.`)
    return size
  }

  /** Another tensor on the same block, which begins `offset` elements behind this one's begin. */
  sharing(shape: readonly number[], offset = 0): PlannedTensor {
    this.storage.users++
    return new PlannedTensor(this.storage, shape, this.dtype, this.device, this.offset + offset)
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.storage.release()
  }
}

/** A planned tensor as the ops' callers hold it: they never look inside a handle. */
export const handleOf = (tensor: PlannedTensor): NativeTensor => tensor as unknown as NativeTensor

/** The planned tensor that such a handle is. */
export const plannedOf = (handle: NativeTensor): PlannedTensor => handle as unknown as PlannedTensor
