import { DTYPE_BYTES, type DType } from '../tensor/dtype.ts'
import { inertGlobal, namespace, resolvePythonGlobal } from './pickle-globals.ts'
import { PickleGlobal, spoken } from './pickle-values.ts'
import { STORAGE_CLASS, TORCH_DTYPES, TorchStorage, TorchTensor } from './torch-tensor.ts'

/**
 * What of torch's own a checkpoint may name: tensors, parameters, storages, sizes, dtypes and devices
 * (torch/_utils.py, torch/_tensor.py and torch/storage.py say how each is rebuilt).
 */
const CALLS: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  // (storage, storage_offset, size, stride, …)
  'torch._utils._rebuild_tensor': (args) => rebuildTensor(args, undefined),
  // (…, requires_grad, backward_hooks, metadata)
  'torch._utils._rebuild_tensor_v2': (args) => {
    refuseLazyBits(args[6])
    return rebuildTensor(args, undefined)
  },
  // (…, requires_grad, backward_hooks, dtype, metadata): for dtypes without a storage class
  'torch._utils._rebuild_tensor_v3': (args) => {
    refuseLazyBits(args[7])
    return rebuildTensor(args, args[6])
  },
  'torch._utils._rebuild_parameter': ([tensor]) => requireTensor(tensor),
  'torch._utils._rebuild_parameter_with_state': ([tensor]) => requireTensor(tensor),
  'torch.nn.parameter.Parameter': ([tensor]) => requireTensor(tensor),
  // (function, class, arguments, attributes)
  'torch._tensor._rebuild_from_type': ([rebuild, , args]) => requireTensor(callGlobal(rebuild, args)),
  'torch._tensor._rebuild_from_type_v2': ([rebuild, , args]) => requireTensor(callGlobal(rebuild, args)),
  'torch.Tensor': () => {
    throw new TypeError('a tensor is built in a way that torch has not used since 0.4; save it again.')
  },
  'torch.Size': ([sizes]) => (sizes === undefined ? [] : requireArray(sizes)),
  'torch.device': (parts) => parts.map(requireWord).join(':'),
  'torch.serialization._get_layout': ([name]) => name,
  // TorchScript's lists of one type.
  'torch.jit._pickle.build_intlist': ([list]) => requireArray(list),
  'torch.jit._pickle.build_doublelist': ([list]) => requireArray(list),
  'torch.jit._pickle.build_boollist': ([list]) => requireArray(list),
  'torch.jit._pickle.build_tensorlist': ([list]) => requireArray(list),
  'torch.jit._pickle.restore_type_tag': ([value]) => value,
}

/** As many axes as torch's own strided kernels take. */
const MAX_RANK = 64

/** A storage's class. Tensors are rebuilt from its objects, which come in by persistent id; it is never called. */
class StorageClass extends PickleGlobal {
  /** Undefined for untyped storages, which count bytes. */
  readonly dtype: DType | undefined

  constructor(name: string, dtype: DType | undefined) {
    super(name, () => {
      throw new TypeError(`a ${name} is built outside of the file's storages.`)
    })
    this.dtype = dtype
  }
}

const GLOBALS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ...Object.entries(CALLS).map(([name, call]) => [name, new PickleGlobal(name, call)] as const),
  ...['torch', 'torch.cuda'].flatMap((module) =>
    Object.entries(STORAGE_CLASS).map(([dtype, name]) => {
      return [`${module}.${name}`, new StorageClass(`${module}.${name}`, dtype as DType)] as const
    }),
  ),
  ...['torch.storage.UntypedStorage', 'torch.UntypedStorage', 'torch.storage._UntypedStorage'].map(
    (name) => [name, new StorageClass(name, undefined)] as const,
  ),
  ...[...TORCH_DTYPES.keys()].map((name) => [`torch.${name}`, `torch.${name}`] as const),
])

export interface TorchGlobalsOptions {
  /** Classes whose objects are kept as plain data instead of being refused. */
  readonly inertGlobals?: readonly string[]
  /** Whether the file is a TorchScript archive, whose modules are classes of their own under `__torch__`. */
  readonly torchScript?: boolean
}

/** What a checkpoint's pickle may name, or undefined where it is none of it. */
export function resolveTorchGlobal(module: string, name: string, options: TorchGlobalsOptions): unknown {
  const fullName = `${module}.${name}`
  const known = GLOBALS.get(fullName) ?? resolvePythonGlobal(module, name)
  if (known !== undefined) return known
  if (options.inertGlobals?.includes(fullName)) return inertGlobal(fullName)
  if (options.torchScript && fullName.startsWith('__torch__.')) {
    return new PickleGlobal(fullName, namespace)
  }
  return undefined
}

/**
 * torch's persistent id: ('storage', class, key, location, element count[, view of an old file: (key, offset, count)]).
 */
export function loadTorchStorage(id: unknown): TorchStorage {
  const [kind, storageClass, key, , count, view] = Array.isArray(id) ? id : []
  if (kind !== 'storage' || !(storageClass instanceof StorageClass) || typeof key !== 'string') {
    throw new TypeError('it refers to something that is not a storage of torch.')
  }
  const elementBytes = storageClass.dtype === undefined ? 1 : DTYPE_BYTES[storageClass.dtype]
  const keyByteLength = requireSize(count) * elementBytes
  if (view === undefined || view === null) return new TorchStorage(key, storageClass.dtype, keyByteLength)
  const [, offset, viewCount] = requireArray(view)
  const byteOffset = requireSize(offset) * elementBytes
  const byteLength = requireSize(viewCount) * elementBytes
  if (byteOffset + byteLength > keyByteLength) {
    throw new RangeError(`a view of storage ${JSON.stringify(key)} lies outside of it.`)
  }
  return new TorchStorage(key, storageClass.dtype, keyByteLength, byteOffset, byteLength)
}

function rebuildTensor([storage, offset, size, stride]: readonly unknown[], torchDtype: unknown): TorchTensor {
  if (!(storage instanceof TorchStorage)) throw new TypeError('a tensor is rebuilt from something that is no storage.')
  const dtype = typeof torchDtype === 'string' ? TORCH_DTYPES.get(torchDtype.replace(/^torch\./, '')) : storage.dtype
  if (dtype === undefined) {
    const named = typeof torchDtype === 'string' ? torchDtype : 'of no storage'
    throw new TypeError(`a tensor has the dtype ${named}, which is not supported; convert it.`)
  }
  return new TorchTensor(storage, dtype, requireSizes(size), requireSizes(stride), requireSize(offset))
}

/** A conjugated or negated view holds other values than its storage. */
function refuseLazyBits(metadata: unknown): void {
  if (!(metadata instanceof Map)) return
  for (const bit of ['conj', 'neg']) {
    if (metadata.get(bit) === true) throw new TypeError(`a tensor is a lazy "${bit}" view; save its resolve_${bit}().`)
  }
}

function callGlobal(callee: unknown, args: unknown): unknown {
  if (!(callee instanceof PickleGlobal)) throw new TypeError('a tensor is rebuilt by something that is no function.')
  return callee.call(requireArray(args))
}

function requireTensor(value: unknown): TorchTensor {
  if (value instanceof TorchTensor) return value
  throw new TypeError('a parameter is rebuilt from something that is no tensor.')
}

function requireArray(value: unknown): unknown[] {
  if (Array.isArray(value)) return value
  throw new TypeError('something that must be a list or tuple is none.')
}

/** Text or a number: to join lists would write out all that they stand for. */
function requireWord(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  throw new TypeError(`a part of a device's name is ${spoken(value)}.`)
}

function requireSizes(value: unknown): number[] {
  const sizes = requireArray(value)
  if (sizes.length > MAX_RANK) throw new RangeError(`a tensor has ${sizes.length} axes; at most ${MAX_RANK} are read.`)
  return sizes.map(requireSize)
}

function requireSize(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new RangeError(`a size, stride or offset of a tensor is ${spoken(value)}.`)
}
