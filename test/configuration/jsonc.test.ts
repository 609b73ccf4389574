import { expect, test } from 'vitest'
import { parseJsonc } from '../../src/configuration/jsonc.ts'

const LONG = 'x'.repeat(50_000_000)

const CASES: readonly [name: string, text: string, value: unknown][] = [
  ['plain JSON', '{"a": [1, 2.5e-4, null, true]}', { a: [1, 2.5e-4, null, true] }],
  ['a comment to the end of its line', '// first\n{\n  "a": 1, // then\n  "b": 2\n}\n// last', { a: 1, b: 2 }],
  ['a comment between two marks, over lines', '{/* a\n "b": 3,\n*/"c": 4}', { c: 4 }],
  [
    'what looks like a comment in a string',
    '{"url": "https://example.org/a/*b*/", "x": "/*"}',
    { url: 'https://example.org/a/*b*/', x: '/*' },
  ],
  ['quotes in a string', '{"a": "\\"// \\\\", "b": 1} // "', { a: '"// \\', b: 1 }],
  ['a byte order mark', '\ufeff{"a": 1}', { a: 1 }],
  ['a byte order mark before a comment', '\ufeff// first\n{"a": "\ufeff"}', { a: '\ufeff' }],
  ['a string of many megabytes', `{"a": "${LONG}"} // last`, { a: LONG }],
  ['a string of many escapes', `{"a": "${'\\n'.repeat(2 ** 23)}"} // last`, { a: '\n'.repeat(2 ** 23) }],
  ['a comment of many megabytes', `{"a": 1} /* ${LONG} */ // ${LONG}`, { a: 1 }],
  ['a quote in a comment', '{ // "not a string\n"a": 1 }', { a: 1 }],
]

test.each(CASES)('%s', (_name, text, value) => {
  expect(parseJsonc(text)).toEqual(value)
})

test.each(['{"a": 1,}', '{"a": }', '{"a": 1', '{/* "a": 1}', '{"a\n": 1}', ''])('%j is refused', (text) => {
  expect(() => parseJsonc(text)).toThrow(SyntaxError)
})

test('what is wrong is named at its place in the text, comments counted', () => {
  const text = '{ /* four */\n  "a": 1 // five\n  "b": 2 }'
  const position = text.indexOf('"b"')
  expect(() => parseJsonc(text)).toThrow(new RegExp(`position ${position}\\b|line 3`))
})
