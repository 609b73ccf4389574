import { describe, expect, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { readPickle } from '../../src/formats/pickle.ts'
import { resolvePythonGlobal } from '../../src/formats/pickle-globals.ts'
import { PickleGlobal } from '../../src/formats/pickle-values.ts'
import { PickleWriter } from '../../src/formats/pickle-writer.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
// pickle.dumps of CPython 3.11 and NumPy 1.24.
import pickles from './fixtures/pickles.json' with { type: 'json' }

const context = {
  path: 'a.pt',
  part: 'data.pkl',
  resolveGlobal: resolvePythonGlobal,
  persistentLoad: () => {
    throw new Error('no storages here')
  },
}

function load(bytes: Uint8Array): unknown {
  return readPickle(bytes, context).value
}

function thrownBy(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  return undefined
}

/** Instructions spelt as text (each character a byte) and bytes. */
function assemble(...parts: readonly (string | number | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part, 'latin1')
      return typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part)
    }),
  )
}

function repeat(bytes: Uint8Array, count: number): Buffer {
  return Buffer.alloc(bytes.length * count, bytes)
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

describe('what Python writes', () => {
  const expected = new Map<unknown, unknown>([
    ['int', -7],
    ['big', 2n ** 70n],
    ['float', 2.5],
    ['inf', Number.NEGATIVE_INFINITY],
    ['text', 'größe \u{1f600}'],
    ['bytes', Uint8Array.of(0x61, 0xff)],
    ['none', null],
    ['true', true],
    ['list', [1, [2, 3]]],
    ['set', new Set([4])],
    ['frozen', new Set([5])],
    ['ordered', new Map([['a', 1]])],
    [
      'namespace',
      new Map<string, unknown>([
        ['lr', 1e-4],
        ['name', 'x'],
      ]),
    ],
    ['path', '/a/b'],
    ['default', new Map([['a', 1]])],
    [
      'counter',
      new Map([
        ['a', 2],
        ['b', 1],
      ]),
    ],
    ['deque', [1, 2]],
    ['bytearray', Uint8Array.of(0x78, 0x79)],
    [3, 'int key'],
  ])
  test.each(Object.entries(pickles).filter(([name]) => name.startsWith('python')))('%s', (_, base64) => {
    const value = load(Buffer.from(base64, 'base64')) as Map<unknown, unknown>
    expect([...value.keys()]).toEqual([...expected.keys()])
    for (const [key, item] of expected) expect(value.get(key), String(key)).toEqual(item)
  })

  test.each(Object.entries(pickles).filter(([name]) => name.startsWith('numpy')))('%s', (_, base64) => {
    const value = load(Buffer.from(base64, 'base64')) as Map<string, never>
    expect([value.get('scalar'), value.get('long'), value.get('flag')]).toEqual([1.5, -7, true])
    const arrays = ['big_endian', 'fortran', 'u2', 'u4', 'half'].map((name) => {
      const { dtype, shape } = value.get(name)!
      return [name, dtype, shape, [...toFloat32(value.get(name)!)]]
    })
    expect(arrays).toEqual([
      ['big_endian', 'f32', [2, 3], [0, 1, 2, 3, 4, 5]],
      ['fortran', 'f64', [2, 3], [0, 1, 2, 3, 4, 5]],
      ['u2', 'i32', [2], [1, 65535]],
      ['u4', 'i64', [2], [1, 2 ** 32]],
      ['half', 'f16', [1], [1.5]],
    ])
  })

  /** pickle.dumps of NumPy 2.4: float32 0 to 23 of [2, 3, 4] by axes (1, 0, 2), and uint16 0 to 11 of [2, 3, 2] by (0, 2, 1). */
  const permuted = Buffer.from(
    'gAWVSwEAAAAAAAB9lCiMAWGUjBNudW1weS5fY29yZS5udW1lcmljlIwLX2Zyb21idWZmZXKUk5QolmAAAAAAAAAAAAAAAAAAgD8AAABAAABAQAAAgEAAAKBAAADAQAAA4EAAAABBAAAQQQAAIEEAADBBAABAQQAAUEEAAGBBAABwQQAAgEEAAIhBAACQQQAAmEEAAKBBAACoQQAAsEEAALhBlIwFbnVtcHmUjAVkdHlwZZSTlIwCZjSUiYiHlFKUKEsDjAE8lE5OTkr/////Sv////9LAHSUYksCSwNLBIeUjAFLlEsBSwBLAoeUdJRSlIwBYpRoBCiWGAAAAAAAAAAAAAEAAgADAAQABQAGAAcACAAJAAoACwCUaAiMAnUylImIh5RSlChLA2gMTk5OSv////9K/////0sAdJRiSwJLA0sCh5RoD0sASwJLAYeUdJRSlHUu',
    'base64',
  )

  test('arrays whose axes are permuted, which protocol 5 keeps as the row-major ones behind them', () => {
    const value = load(permuted) as Map<string, never>
    const arrays = ['a', 'b'].map((name) => {
      const { dtype, shape } = value.get(name)!
      return [dtype, shape, [...toFloat32(value.get(name)!)]]
    })
    const rows = [0, 12, 4, 16, 8, 20].flatMap((first) => [first, first + 1, first + 2, first + 3])
    expect(arrays).toEqual([
      ['f32', [3, 2, 4], rows],
      ['i32', [2, 2, 3], [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]],
    ])
  })

  test.each<[string, Buffer]>([
    ['too few', assemble('K', 1, 'K', 0, 'N0', 0x86)],
    ['twice the same', assemble('K', 1, 'K', 1, 'K', 2, 0x87)],
    ['one that is not there', assemble('K', 1, 'K', 3, 'K', 2, 0x87)],
    ['no list', assemble('K', 1, '0K', 0, '0K', 2)],
  ])('permuted axes, %s, are refused', (_, axes) => {
    const bytes = Buffer.from(permuted)
    axes.copy(bytes, bytes.indexOf(assemble('K', 1, 'K', 0, 'K', 2, 0x87)))
    expect(() => load(bytes)).toThrow('the axes of a NumPy array are damaged')
  })

  test('a dtype of NumPy by itself is a name', () => {
    const value = load(
      Buffer.from(
        'gAJ9cQAoWAEAAABkcQFjbnVtcHkKZHR5cGUKcQJYAgAAAGY0cQOJiIdxBFJxBShLA1gBAAAAPHEGTk5OSv////9K/////0sAdHEHYlgBAAAAeHEISwF1Lg==',
        'base64',
      ),
    ) as Map<string, unknown>
    expect([...value]).toEqual([
      ['d', expect.objectContaining({ name: "numpy.dtype('f4')" })],
      ['x', 1],
    ])
    expect(value.get('d')).toBeInstanceOf(PickleGlobal)
  })

  test.each<[string, Buffer, unknown]>([
    ['INT booleans', assemble('(lI01\naI00\naI5\na.'), [true, false, 5]],
    ['LONG with its L', assemble('L-12345678901234567890L\n.'), -12345678901234567890n],
    ['LONG1 of no bytes', assemble(0x8a, 0, '.'), 0],
    ['LONG4', assemble(0x8b, u32(2), 0xff, 0x7f, '.'), 32767],
    ['FLOAT nan', assemble('Fnan\n.'), Number.NaN],
    ['STRING with escapes', assemble("S'a\\x41\\n\\'\\101'\n."), "aA\n'A"],
    ['a Python 2 str that is no text', assemble('U', 2, 0xff, 0xfe, '.'), Uint8Array.of(0xff, 0xfe)],
    ['UNICODE with escapes', assemble('V\\u00e9\xe9\\U0001f600\n.'), 'éé\u{1f600}'],
    ['DUP, POP and POP_MARK', assemble(']2(K', 1, '1(K', 1, '000.'), []],
    ['a shared list stays one', assemble('(lq', 0, 'p1\n0(h', 0, 'g1\nt.'), [[], []]],
    ['__proto__ as a key', assemble('}V__proto__\nK', 1, 's.'), new Map([['__proto__', 1]])],
    ['INST and OBJ', assemble('(', 'ccollections\nOrderedDict\n', 'o0(icollections\nOrderedDict\n.'), new Map()],
    ['sizes that end a stream', assemble('N.trailing'), null],
  ])('%s', (_, bytes, expected) => {
    expect(load(bytes)).toEqual(expected)
  })
})

describe('refused', () => {
  test.each([
    ['os', 'system'],
    ['posix', 'system'],
    ['builtins', 'eval'],
    ['__builtin__', 'getattr'],
    ['builtins', '__import__'],
    ['subprocess', 'Popen'],
    ['torch', 'load'],
    ['numpy.core.multiarray', 'fromfile'],
    ['constructor', 'constructor'],
    ['__proto__', 'toString'],
  ])('the global %s.%s, by name, in every way to spell it', (module, name) => {
    const spellings = [
      assemble(`c${module}\n${name}\n(S'true'\ntR.`),
      assemble(`(S'true'\ni${module}\n${name}\n.`),
      assemble(0x80, 4, 0x8c, module.length, module, 0x8c, name.length, name, 0x93, ')R.'),
    ]
    for (const bytes of spellings) {
      expect(() => load(bytes)).toThrow(FileFormatError)
      expect(() => load(bytes)).toThrow(`a.pt: data.pkl names "${module}.${name}"`)
      expect(() => load(bytes)).toThrow('nothing of it was run')
    }
  })

  const billionLaughs = assemble('(lp0\n', ...Array.from({ length: 64 }, (_, i) => `0(g${i}\ng${i}\nlp${i + 1}\n`), '.')
  const selfContaining = assemble(']q', 0, 'h', 0, 'a.')
  /** A list of a million, given again and again to something that goes through it. */
  const repeatedly = (call: string, count: number) =>
    assemble(
      ']q',
      0,
      '(',
      'N'.repeat(1_000_000),
      'e0',
      `${call}q`,
      1,
      '0',
      repeat(assemble('h', 1, 'h', 0, 0x85, 'R0'), count),
      'N.',
    )
  test.each<[string, Buffer, RegExp]>([
    ['another protocol', assemble(0x80, 6, 'N.'), /protocol 6/],
    ['an unknown instruction', assemble(0x7e, '.'), /unknown opcode 0x7e/],
    ['an empty stack', assemble('.'), /takes a value that is not there/],
    ['a mark that is not there', assemble('e.'), /takes a mark that is not there/],
    ['a memo that is not there', assemble('h', 7, '.'), /memo 7/],
    ['an append to no list', assemble('NNa.'), /appends to something that is not a list/],
    ['an item of no dictionary', assemble('NNNs.'), /not a dictionary/],
    ['a key without a value', assemble('}(Nu.'), /key without a value/],
    ['a call of no function', assemble('N)R.'), /calls something that is not a function/],
    ['arguments that are no tuple', assemble('ccollections\nOrderedDict\nNR.'), /calls something/],
    ['a state of no object', assemble(']Nb.'), /gives a state to something that has none/],
    ['keyword arguments', assemble('ccollections\nOrderedDict\n)}NNs', 0x92, '.'), /keyword arguments/],
    ['a text persistent id', assemble('P0\n.'), /outside of the file/],
    ['an extension', assemble(0x82, 1, '.'), /outside of the file/],
    ['an out-of-band buffer', assemble(0x97, '.'), /outside of the file/],
    ['an integer of many digits', assemble(`L${'9'.repeat(5000)}L\n.`), /integer of 5000 digits/],
    ['an integer of many bytes', assemble(0x8b, u32(3000), Buffer.alloc(3000), '.'), /integer of 3000 bytes/],
    ['a float that is none', assemble(`F${'1'.repeat(100_000)}x\n.`), /float is no number/],
    ['text longer than the file', assemble('X', u32(0xffffffff), 'a.'), /ends in the middle/],
    ['bytes longer than the file', assemble(0x8e, Buffer.alloc(8, 0xff), '.'), /ends in the middle/],
    ['no end', assemble('N'), /ends in the middle/],
    ['a dictionary from no pairs', assemble('ccollections\nOrderedDict\n(K', 1, 'tR.'), /neither/],
    [
      'a NumPy array of objects',
      assemble('cnumpy.core.multiarray\n_reconstruct\n)R(K', 1, ')cnumpy\ndtype\n(VO8\ntRI00\nNtb.'),
      /Python objects/,
    ],
    [
      'a NumPy array with too few bytes',
      assemble('cnumpy.core.multiarray\n_reconstruct\n)R(K', 1, '(K', 9, 'tcnumpy\ndtype\n(Vf8\ntRI00\nC', 1, 'atb.'),
      /has 1 bytes instead of 72/,
    ],
    ['a value that contains itself', selfContaining, /contains itself/],
    ['deep nesting', assemble(']'.repeat(100_000), 'a'.repeat(99_999), '.'), /nested more than 500/],
    ['a billion laughs', billionLaughs, /stands for more than 20000000 values/],
    ['more dictionaries than memory', assemble('('.repeat(1), '}'.repeat(600_000), 't.'), /more than 128 MiB/],
    ['more marks than memory', assemble('('.repeat(3_000_000), '.'), /more than 128 MiB/],
    ['one long list copied again and again', repeatedly('c__builtin__\nlist\n', 20_000), /more than 128 MiB/],
    ['one long list made a set again and again', repeatedly('c__builtin__\nset\n', 20_000), /more than 128 MiB/],
  ])('%s', (_, bytes, message) => {
    const begin = performance.now()
    const error = thrownBy(() => load(bytes))
    expect(performance.now() - begin).toBeLessThan(20_000)
    expect(error).toBeInstanceOf(FileFormatError)
    expect((error as Error).message).toMatch(message)
  })

  test.each(Object.entries(pickles))('%s: cut anywhere, or with a flipped bit in any byte', (_, base64) => {
    const whole = Buffer.from(base64, 'base64')
    for (let byte = 0; byte < whole.length; byte++) {
      expect(thrownBy(() => load(whole.subarray(0, byte)))).toBeInstanceOf(FileFormatError)
      const flipped = Buffer.from(whole)
      flipped[byte]! ^= 1 << (byte % 8)
      const error = thrownBy(() => load(flipped))
      if (error !== undefined) expect(error).toBeInstanceOf(FileFormatError)
    }
  })
})

test.each<[string, number | bigint]>([
  ...[0, 255, 256, 65535, 65536, -1, -128, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1].map(
    (n): [string, number] => [String(n), n],
  ),
  ...[2n ** 63n - 1n, 2n ** 63n, -(2n ** 63n), -(2n ** 63n) - 1n, 2n ** 64n, -(2n ** 200n)].map(
    (n): [string, bigint] => [String(n), n],
  ),
])('the integer %s is read as it was written', (_, value) => {
  const writer = new PickleWriter()
  writer.integer(value)
  expect(load(writer.finish())).toBe(value)
})
