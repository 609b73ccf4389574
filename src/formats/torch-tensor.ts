import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import { stridedExtent } from './strided.ts'

/** A block of bytes in a checkpoint that tensors are views of. */
export class TorchStorage {
  /** Its name in the file. Two storages of one key share their bytes. */
  readonly key: string
  /** Of its elements; an untyped storage has none of its own. */
  readonly dtype: DType | undefined
  /** Of everything under the key. */
  readonly keyByteLength: number
  /** From the start of the key's bytes: not 0 where an old file keeps a view of a storage as a storage. */
  readonly byteOffset: number
  readonly byteLength: number

  constructor(
    key: string,
    dtype: DType | undefined,
    keyByteLength: number,
    byteOffset = 0,
    byteLength: number = keyByteLength,
  ) {
    this.key = key
    this.dtype = dtype
    this.keyByteLength = keyByteLength
    this.byteOffset = byteOffset
    this.byteLength = byteLength
  }
}

/** A tensor in a checkpoint, not yet read: `TorchCheckpoint.read` fetches it. */
export class TorchTensor {
  readonly storage: TorchStorage
  readonly dtype: DType
  readonly shape: readonly number[]
  /** In elements, one per axis; 0 for an expanded axis. */
  readonly stride: readonly number[]
  /** In elements, from the start of the storage. */
  readonly storageOffset: number

  /** @throws RangeError where the view does not lie within its storage. */
  constructor(
    storage: TorchStorage,
    dtype: DType,
    shape: readonly number[],
    stride: readonly number[],
    storageOffset: number,
  ) {
    if (shape.length !== stride.length) {
      throw new RangeError(`a tensor of shape [${shape}] has the stride [${stride}], of another rank.`)
    }
    if (![...shape, ...stride, storageOffset].every((n) => Number.isSafeInteger(n) && n >= 0)) {
      throw new RangeError(`a tensor has the shape [${shape}], stride [${stride}] and offset ${storageOffset}.`)
    }
    const end = (storageOffset + stridedExtent(shape, stride)) * DTYPE_BYTES[dtype]
    const isEmpty = elementCount(shape) === 0
    if (!isEmpty && !(end <= storage.byteLength)) {
      throw new RangeError(
        `a tensor of shape [${shape}], stride [${stride}] and offset ${storageOffset} ends at byte ${end} ` +
          `of its storage, which has ${storage.byteLength}.`,
      )
    }
    this.storage = storage
    this.dtype = dtype
    this.shape = shape
    this.stride = stride
    this.storageOffset = storageOffset
  }
}

/** torch.storage: the classes of typed storages, by dtype. */
export const STORAGE_CLASS: Readonly<Record<DType, string>> = {
  f64: 'DoubleStorage',
  f32: 'FloatStorage',
  f16: 'HalfStorage',
  bf16: 'BFloat16Storage',
  i64: 'LongStorage',
  i32: 'IntStorage',
  i16: 'ShortStorage',
  i8: 'CharStorage',
  u8: 'ByteStorage',
  bool: 'BoolStorage',
}

/** torch.dtype by name; those without a dtype here can be named, as in a model's settings, but not hold tensors. */
export const TORCH_DTYPES: ReadonlyMap<string, DType | undefined> = new Map<string, DType | undefined>([
  ['float64', 'f64'],
  ['double', 'f64'],
  ['float32', 'f32'],
  ['float', 'f32'],
  ['float16', 'f16'],
  ['half', 'f16'],
  ['bfloat16', 'bf16'],
  ['int64', 'i64'],
  ['long', 'i64'],
  ['int32', 'i32'],
  ['int', 'i32'],
  ['int16', 'i16'],
  ['short', 'i16'],
  ['int8', 'i8'],
  ['uint8', 'u8'],
  ['bool', 'bool'],
  ['uint16', undefined],
  ['uint32', undefined],
  ['uint64', undefined],
  ['float8_e4m3fn', undefined],
  ['float8_e5m2', undefined],
  ['complex32', undefined],
  ['complex64', undefined],
  ['complex128', undefined],
])
