import { DTYPE_BYTES } from '../tensor/dtype.ts'
import { elementAt, type HostTensor } from '../tensor/host-tensor.ts'
import { dataViewOf } from './byte-order.ts'
import { decodeNumpyArray, type NumpyDtype, numpyByteLength, parseNumpyDtype } from './numpy-dtype.ts'
import { InertObject, PickleGlobal, withBuilder } from './pickle-values.ts'
import { contiguousStride, toContiguous } from './strided.ts'

/**
 * What of Python's and NumPy's own a checkpoint may name: containers, namespaces, paths and numbers. Each entry says what
 * the call would give; none of them can reach anything outside of the pickle.
 */
const CALLS: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  'builtins.bool': ([value]) => Boolean(value),
  'builtins.bytearray': ([text, encoding]) => latin1Bytes(text ?? '', encoding ?? 'latin-1'),
  'builtins.bytes': ([value]) => toBytes(value ?? new Uint8Array(0)),
  'builtins.dict': ([items]) => toMap(items),
  'builtins.float': ([value]) => toNumber(value),
  'builtins.frozenset': ([items]) => new Set(toArray(items)),
  'builtins.int': ([value]) => toNumber(value),
  'builtins.list': ([items]) => [...toArray(items)],
  'builtins.object': namespace,
  'builtins.long': ([value]) => toNumber(value),
  'builtins.set': ([items]) => new Set(toArray(items)),
  'builtins.str': ([value]) => toText(value ?? ''),
  'builtins.unicode': ([value]) => toText(value ?? ''),
  'builtins.tuple': ([items]) => [...toArray(items)],
  '_codecs.encode': ([text, encoding]) => latin1Bytes(text, encoding),
  'copy_reg._reconstructor': ([type]) => construct(type),
  'copyreg._reconstructor': ([type]) => construct(type),
  'collections.Counter': ([items]) => toMap(items),
  'collections.OrderedDict': ([items]) => toMap(items),
  'collections.defaultdict': () => new Map(),
  'collections.deque': ([items]) => [...toArray(items)],
  'argparse.Namespace': namespace,
  'types.SimpleNamespace': namespace,
  'easydict.EasyDict': ([items]) => toMap(items),
  'yacs.config.CfgNode': ([items]) => toMap(items),
  'pathlib.Path': (parts) => joinPath(parts, '/'),
  'pathlib.PosixPath': (parts) => joinPath(parts, '/'),
  'pathlib.PurePosixPath': (parts) => joinPath(parts, '/'),
  'pathlib.WindowsPath': (parts) => joinPath(parts, '\\'),
  'pathlib.PureWindowsPath': (parts) => joinPath(parts, '\\'),
  'numpy.dtype': ([descr]) => new PickledNumpyDtype(toText(descr)),
  'numpy.ndarray': unbuiltNumpyArray,
  'numpy.core.multiarray._reconstruct': unbuiltNumpyArray,
  'numpy.core.multiarray.scalar': ([dtype, bytes]) => numpyScalar(dtype, bytes),
  'numpy.core.numeric._frombuffer': bufferedNumpyArray,
}

/** Other modules that the same things stood in, by version of Python and NumPy. */
const MODULE_ALIASES: Readonly<Record<string, string>> = {
  __builtin__: 'builtins',
  'numpy._core.multiarray': 'numpy.core.multiarray',
  'numpy._core.numeric': 'numpy.core.numeric',
  'pathlib._local': 'pathlib',
}

const GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map(
  Object.entries(CALLS).map(([name, call]) => [name, new PickleGlobal(name, call)]),
)

/** NumPy's own limit (NPY_MAXDIMS, since 2.0). */
const MAX_NUMPY_RANK = 64

/** The allow-listed global of Python or NumPy, or undefined. */
export function resolvePythonGlobal(module: string, name: string): PickleGlobal | undefined {
  const canonical = Object.hasOwn(MODULE_ALIASES, module) ? MODULE_ALIASES[module] : module
  return GLOBALS.get(`${canonical}.${name}`)
}

/** A class whose objects are kept as plain data: what they were to be built from. */
export function inertGlobal(className: string): PickleGlobal {
  return new PickleGlobal(className, (args) => new InertObject(className, args))
}

/** An object that is nothing but attributes, as the Map of them. */
export function namespace(): Map<unknown, unknown> {
  const attributes = new Map<unknown, unknown>()
  return withBuilder(attributes, (state) => {
    // Python's default state: the attributes, or a pair of them and those in slots.
    for (const part of Array.isArray(state) ? state : [state]) {
      if (part === null) continue
      if (!(part instanceof Map)) throw new TypeError('the attributes of an object are not a dictionary.')
      for (const [key, value] of part) attributes.set(key, value)
    }
  })
}

/** numpy.dtype, whose byte order comes by its state: (version, byte order, …). By itself it is a name and no more. */
class PickledNumpyDtype extends PickleGlobal {
  readonly #code: string
  #order = '<'

  constructor(code: string) {
    super(`numpy.dtype('${code}')`, () => {
      throw new TypeError('an object is built from something that is not a class.')
    })
    this.#code = code
    withBuilder(this, (state) => {
      const order = Array.isArray(state) ? state[1] : undefined
      if (typeof order !== 'string') throw new TypeError('the state of a NumPy dtype is damaged.')
      this.#order = order
    })
  }

  resolve(): NumpyDtype {
    const code = /^[<>=|]/.test(this.#code) ? this.#code : `${this.#order}${this.#code}`
    return namedArray(() => parseNumpyDtype(code))
  }
}

/** An array that is empty until its state comes: (version, shape, dtype, Fortran order, bytes). */
function unbuiltNumpyArray(): HostTensor {
  const array: HostTensor = { dtype: 'u8', shape: [0], data: new Uint8Array(0) }
  return withBuilder(array, (state) => {
    const [, shape, dtype, fortranOrder, content] = Array.isArray(state) && state.length === 5 ? state : []
    Object.assign(array, numpyArray(dtype, shape, fortranOrder === true, content))
  })
}

function numpyArray(dtype: unknown, shape: unknown, fortranOrder: boolean, content: unknown): HostTensor {
  if (!(dtype instanceof PickledNumpyDtype) || !Array.isArray(shape) || shape.length > MAX_NUMPY_RANK) {
    throw new TypeError('the state of a NumPy array is damaged.')
  }
  const numpy = dtype.resolve()
  const sizes = shape.map(toNumber).map(Number)
  const expected = namedArray(() => numpyByteLength(numpy, sizes))
  const bytes = toBytes(content)
  if (bytes.length !== expected) {
    throw new RangeError(`a NumPy array of shape [${sizes}] has ${bytes.length} bytes instead of ${expected}.`)
  }
  return decodeNumpyArray(numpy, sizes, fortranOrder, bytes.slice())
}

/**
 * (bytes, dtype, shape, order[, axes]): how protocol 5 keeps an array. Of one whose axes are permuted (order 'K', as NumPy 2.4 writes) these are
 * the row-major array behind it, and which of its axes come first (numpy/_core/numeric.py, `_frombuffer`).
 */
function bufferedNumpyArray([bytes, dtype, shape, order, axes]: readonly unknown[]): HostTensor {
  if (order === 'C' || order === 'F') return numpyArray(dtype, shape, order === 'F', bytes)
  const behind = numpyArray(dtype, shape, false, bytes)
  const permutation = order === 'K' && Array.isArray(axes) ? axes.map(toNumber).map(Number) : []
  const rank = behind.shape.length
  if (permutation.length !== rank || !behind.shape.every((_, axis) => permutation.includes(axis))) {
    throw new TypeError('the axes of a NumPy array are damaged.')
  }
  const stride = contiguousStride(behind.shape)
  const permuted = (sizes: readonly number[]) => permutation.map((axis) => sizes[axis]!)
  const sizes = permuted(behind.shape)
  const data = toContiguous(behind.data, sizes, permuted(stride), DTYPE_BYTES[behind.dtype])
  return { dtype: behind.dtype, shape: sizes, data }
}

function numpyScalar(dtype: unknown, content: unknown): number | bigint | boolean {
  if (!(dtype instanceof PickledNumpyDtype)) throw new TypeError('a NumPy number lacks its dtype.')
  const numpy = dtype.resolve()
  const bytes = toBytes(content)
  if (bytes.length !== numpy.itemBytes) {
    throw new RangeError(`a NumPy number has ${bytes.length} bytes instead of ${numpy.itemBytes}.`)
  }
  const scalar = decodeNumpyArray(numpy, [], false, bytes.slice())
  if (scalar.dtype === 'bool') return scalar.data[0] !== 0
  if (scalar.dtype !== 'i64') return elementAt(scalar, 0)
  const integer = dataViewOf(scalar.data).getBigInt64(0, true)
  return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer
}

function construct(type: unknown): unknown {
  if (!(type instanceof PickleGlobal)) throw new TypeError('an object is built from something that is not a class.')
  return type.call([])
}

function toArray(value: unknown): unknown[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value
  if (value instanceof Set) return [...value]
  throw new TypeError('a list or set is built from something that is neither.')
}

function toMap(value: unknown): Map<unknown, unknown> {
  if (value instanceof Map) return new Map(value)
  return new Map(
    toArray(value).map((pair): [unknown, unknown] => {
      if (!Array.isArray(pair) || pair.length !== 2) throw new TypeError('a dictionary is built from no pairs.')
      return [pair[0], pair[1]]
    }),
  )
}

function toNumber(value: unknown): number | bigint {
  if (typeof value === 'number' || typeof value === 'bigint') return value
  if (value === undefined || typeof value === 'boolean') return Number(value ?? 0)
  throw new TypeError('a number is built from something that is none.')
}

function toText(value: unknown): string {
  if (typeof value === 'string') return value
  throw new TypeError('text is built from something that is none.')
}

function toBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value
  // Python 2's str is text here wherever it could be.
  if (typeof value === 'string') return new TextEncoder().encode(value)
  throw new TypeError('bytes are built from something that is none.')
}

/** How Python 3 writes bytes in protocol 2: as the text whose characters are the bytes. */
function latin1Bytes(text: unknown, encoding: unknown): Uint8Array {
  if (text instanceof Uint8Array) return text.slice()
  if (typeof text !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1')) {
    throw new TypeError('bytes are written in an encoding other than latin1.')
  }
  if (/[^\0-\xff]/.test(text)) throw new RangeError('bytes hold a character that is no byte.')
  return new Uint8Array(Buffer.from(text, 'latin1'))
}

function joinPath(parts: readonly unknown[], separator: string): string {
  const [first = '', ...rest] = parts.map(toText)
  return rest.length === 0 || first.endsWith(separator)
    ? first + rest.join(separator)
    : [first, ...rest].join(separator)
}

/** The functions of NumPy's dtypes throw sentences that read on after the array's name. */
function namedArray<T>(action: () => T): T {
  try {
    return action()
  } catch (error) {
    throw new RangeError(`a NumPy array ${(error as Error).message}`)
  }
}
