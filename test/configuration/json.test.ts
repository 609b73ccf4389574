import { expect, test } from 'vitest'
import { parseJson } from '../../src/configuration/json.ts'
import { parseJsonc } from '../../src/configuration/jsonc.ts'
import { ConfigurationError } from '../../src/configuration/parse.ts'

test('a text that is JSON is its value, and one that is none is named with the reason', () => {
  expect(parseJson('{ "a": [1, null] }', 'a.json')).toEqual({ a: [1, null] })
  expect(() => parseJson('{', 'a.json')).toThrow(ConfigurationError)
  expect(() => parseJson('{', 'a.json')).toThrow(/^a\.json is not JSON: .+\.$/)
})

test('what parses it can be another parser', () => {
  expect(parseJson('// a comment\n3', 'a.jsonc', { parse: parseJsonc })).toBe(3)
  expect(() => parseJson('// a comment\n3', 'a.json')).toThrow('a.json is not JSON')
})

test('what is to be done about it can be said', () => {
  expect(() => parseJson('{', 'a.json', { advice: 'restore it' })).toThrow(/^a\.json is not JSON: .+; restore it\.$/)
})

// RFC 8259, 8.1: a parser may ignore it. Editors of Windows write it.
test.each([
  ['JSON', undefined],
  ['JSON with comments', parseJsonc],
])('a byte order mark before %s is ignored, and counts as a character', (_, parse) => {
  const options = parse === undefined ? {} : { parse }
  expect(parseJson('\ufeff{ "a": 1 }', 'a.json', options)).toEqual({ a: 1 })
  const text = '\ufeff{ "a": ! }'
  expect(() => parseJson(text, 'a.json', options)).toThrow(`'!'`)
  // Another than the first is no such mark.
  expect(() => parseJson('\ufeff\ufeff1', 'a.json', options)).toThrow('a.json is not JSON')
  expect(() => parseJson('1\ufeff', 'a.json', options)).toThrow('a.json is not JSON')
})
