// An addon that remembers the tensors that its functions are given and return. Fresh memory of the shim is NaN, and where AddressSanitizer
// watches all memory is fresh: an element that no kernel has written, or that was made of one, shows.

/** Which bits of a float are its exponent and which its significand, and as what numbers they are read. */
const FLOATS = {
  f64: { words: BigUint64Array, magnitude: 0x7fffffffffffffffn, infinity: 0x7ff0000000000000n },
  f32: { words: Uint32Array, magnitude: 0x7fffffff, infinity: 0x7f800000 },
  bf16: { words: Uint16Array, magnitude: 0x7fff, infinity: 0x7f80 },
  f16: { words: Uint16Array, magnitude: 0x7fff, infinity: 0x7c00 },
}

/** Functions whose tensors have no values of their own yet, or none any more. */
const UNWRITTEN = new Set(['empty', 'view', 'dispose'])

/** `requireWritten` throws, naming the functions, where a tensor since the last time has a NaN. */
export function rememberingTensors(addon) {
  /** And the function that had it last. */
  const seen = new Map()
  const take = (name, value) => {
    if (Array.isArray(value)) for (const one of value) take(name, one)
    else if (isTensor(addon, value)) seen.set(value, name)
  }
  const native = new Proxy(addon, {
    get(target, name) {
      const own = target[name]
      if (typeof own !== 'function' || UNWRITTEN.has(name)) return own
      return (...given) => {
        const result = own.apply(target, given)
        take(name, given)
        take(name, result)
        return result
      }
    },
  })
  const requireWritten = async () => {
    const wrong = []
    for (const [tensor, name] of seen) {
      const float = FLOATS[addon.dtypeOf(tensor)]
      if (!float) continue
      const words = new float.words(await addon.read(tensor))
      const count = words.reduce((sum, word) => sum + ((word & float.magnitude) > float.infinity ? 1 : 0), 0)
      if (count > 0) wrong.push(`${name}: ${count} of [${addon.shapeOf(tensor)}]`)
    }
    seen.clear()
    if (wrong.length > 0) throw new Error(`Elements are NaN, of memory that nobody wrote. ${wrong.join('; ')}.`)
  }
  return { native, requireWritten }
}

function isTensor(addon, value) {
  if (typeof value !== 'object' || value === null) return false
  try {
    addon.dtypeOf(value)
    return true
  } catch {
    return false
  }
}
