import { type NativeTensor, native } from '../native.ts'
import type { Device } from './device.ts'
import { type ComputeDType, elementCount } from './dtype.ts'
import { type HostTensor, toFloat32 } from './host-tensor.ts'
import type { Parameter } from './parameter.ts'
import { adopt } from './scope.ts'

/** Typed arrays by dtype; bf16 and f16 as their bits. */
interface HostArrays {
  f64: Float64Array
  f32: Float32Array
  i32: Int32Array
  u8: Uint8Array
  bf16: Uint16Array
  f16: Uint16Array
}

/** Dtypes that a device has. */
export type DeviceDType = keyof HostArrays

/**
 * A contiguous block on one device with a shape and a dtype. Freed by `dispose()`, by the end of the scope it was made in,
 * or by the tape that recorded it; the garbage collector is only the safety net.
 */
export class Tensor implements Disposable {
  #handle: NativeTensor
  readonly device: Device
  /** The parameter whose value this is, if it is one. */
  parameter: Parameter | undefined
  #shape: readonly number[] | undefined
  #dtype: DeviceDType | undefined
  /** Computes the values again and gives them to `restore`; undefined where nobody can. */
  #recompute: (() => void) | undefined
  #forgotten = false

  /** Takes over a handle that the addon made. */
  constructor(handle: NativeTensor, device: Device) {
    this.#handle = handle
    this.device = device
    adopt(this)
  }

  /** Memory with undefined values. Throws ERR_OUT_OF_MEMORY when the device's limit would be passed. */
  static empty(shape: readonly number[], device: Device, dtype: DeviceDType = 'f32'): Tensor {
    return new Tensor(native().empty(shape, dtype, device), device)
  }

  static full(shape: readonly number[], value: number, device: Device): Tensor {
    const tensor = Tensor.empty(shape, device)
    native().fill(tensor.handle, value)
    return tensor
  }

  static zeros(shape: readonly number[], device: Device): Tensor {
    return Tensor.full(shape, 0, device)
  }

  /** Copies host values; the dtype follows from the array (Float32Array f32, Int32Array i32, Uint8Array u8, Float64Array f64). */
  static from(
    data: Float32Array | Float64Array | Int32Array | Uint8Array,
    shape: readonly number[],
    device: Device,
  ): Tensor {
    const dtype =
      data instanceof Float32Array
        ? 'f32'
        : data instanceof Float64Array
          ? 'f64'
          : data instanceof Int32Array
            ? 'i32'
            : 'u8'
    return new Tensor(native().fromHost(data, shape, dtype, device), device)
  }

  /** A file's tensor as f32 on the device. */
  static fromHostTensor(tensor: HostTensor, device: Device): Tensor {
    return Tensor.from(toFloat32(tensor), tensor.shape, device)
  }

  /** What the addon knows the tensor by. Of a forgotten tensor, its values are computed again first. */
  get handle(): NativeTensor {
    if (this.#forgotten) this.#recompute!()
    return this.#handle
  }

  get shape(): readonly number[] {
    // Of a program without types a shape that is written into would be another's than the values'.
    this.#shape ??= Object.freeze(native().shapeOf(this.handle))
    return this.#shape
  }

  get dtype(): DeviceDType {
    this.#dtype ??= native().dtypeOf(this.handle) as DeviceDType
    return this.#dtype
  }

  get elements(): number {
    return elementCount(this.shape)
  }

  /** Waits for the queue and copies the values to the host. */
  async data(): Promise<Float32Array> {
    if (this.dtype !== 'f32') throw new TypeError(`data: the tensor is ${this.dtype}; call dataAs('${this.dtype}').`)
    return new Float32Array(await native().read(this.handle))
  }

  /** As `data()`, for any dtype, which must be the tensor's own. */
  async dataAs<D extends DeviceDType>(dtype: D): Promise<HostArrays[D]> {
    if (this.dtype !== dtype) throw new TypeError(`dataAs: the tensor is ${this.dtype}, not ${dtype}.`)
    const bytes = await native().read(this.handle)
    const arrays: { [D in DeviceDType]: (bytes: ArrayBuffer) => HostArrays[D] } = {
      f64: (b) => new Float64Array(b),
      f32: (b) => new Float32Array(b),
      i32: (b) => new Int32Array(b),
      u8: (b) => new Uint8Array(b),
      bf16: (b) => new Uint16Array(b),
      f16: (b) => new Uint16Array(b),
    }
    return arrays[dtype](bytes)
  }

  /** The values as a file holds them. */
  async toHost(): Promise<HostTensor> {
    return { dtype: this.dtype, shape: this.shape, data: new Uint8Array(await native().read(this.handle)) }
  }

  /** The one value of a tensor of one element. */
  async item(): Promise<number> {
    if (this.elements !== 1) throw new RangeError(`item: the tensor has shape [${this.shape}], not one element.`)
    return (await this.data())[0]!
  }

  /** Overwrites the values from the host. */
  write(data: Float32Array | Float64Array | Int32Array | Uint8Array): void {
    native().write(this.handle, data)
  }

  /** The same elements under another shape; shares memory. */
  reshape(shape: readonly number[]): Tensor {
    return new Tensor(native().reshape(this.handle, shape), this.device)
  }

  /** `shape` elements that begin at element `offset`; shares memory. */
  view(offset: number, shape: readonly number[]): Tensor {
    return new Tensor(native().view(this.handle, offset, shape), this.device)
  }

  /** Rows `begin` to `end` of the leading axis; shares memory. */
  slice(begin: number, end: number): Tensor {
    const [first, ...rest] = this.shape
    if (first === undefined || begin < 0 || end < begin || end > first) {
      throw new RangeError(`slice: rows ${begin} to ${end} are not in a tensor of shape [${this.shape}].`)
    }
    return this.view(begin * elementCount(rest), [end - begin, ...rest])
  }

  /** Another handle on the same memory. */
  alias(): Tensor {
    const alias = new Tensor(native().alias(this.handle), this.device)
    alias.#shape = this.#shape
    alias.#dtype = this.#dtype
    return alias
  }

  /** Whether `forget` would free the memory. */
  get isRecomputable(): boolean {
    return this.#recompute !== undefined
  }

  /** How a forgotten tensor's values are made again and given to `restore`: see recomputable.ts. */
  recomputeBy(recompute: () => void): void {
    this.#recompute = recompute
  }

  /** Frees the memory until somebody asks for the values, where somebody has said how they are made again. */
  forget(): void {
    if (!this.#recompute || this.#forgotten) return
    this.#shape = this.shape
    this.#dtype = this.dtype
    native().dispose(this.#handle)
    this.#forgotten = true
  }

  /** Takes over values computed again; frees them where the own ones are still there. */
  restore(handle: NativeTensor): void {
    if (this.#forgotten) this.#handle = handle
    else native().dispose(handle)
    this.#forgotten = false
  }

  /** Frees the memory (shared memory with its last handle). A second call does nothing; any other use afterwards throws ERR_DISPOSED. */
  dispose(): void {
    this.#forgotten = false
    this.#recompute = undefined
    native().dispose(this.#handle)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** The dtype of an activation or of a weight that products read. Throws for what no model computes in. */
export function computeDType({ dtype }: Tensor): ComputeDType {
  if (dtype === 'f32' || dtype === 'bf16' || dtype === 'f16') return dtype
  throw new TypeError(`A tensor of ${dtype} is no activation: expected f32, bf16 or f16.`)
}
