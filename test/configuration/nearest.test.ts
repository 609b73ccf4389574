import { expect, test } from 'vitest'
import { editDistance, nearest } from '../../src/configuration/nearest.ts'

test.each([
  ['', '', 0],
  ['', 'abc', 3],
  ['steps', 'steps', 0],
  ['stpes', 'steps', 1],
  ['step', 'steps', 1],
  ['stepss', 'steps', 1],
  ['stops', 'steps', 1],
  ['kitten', 'sitting', 3],
  // The optimal string alignment variant: a swapped pair is not edited again (Damerau–Levenshtein proper: 2).
  ['ca', 'abc', 3],
])('editDistance(%j, %j) = %i', (from, to, expected) => {
  expect(editDistance(from, to)).toBe(expected)
  expect(editDistance(to, from)).toBe(expected)
})

const flags = ['steps', 'batch', 'lr', 'checkpoint-every', 'sample-every', 'align-weight', 'align-depth', 'json']

test.each([
  ['stpes', 'steps'],
  ['STEPS', 'steps'],
  ['step', 'steps'],
  ['bacth', 'batch'],
  ['align-wieght', 'align-weight'],
  ['checkpoint', 'checkpoint-every'],
  ['alignweight', 'align-weight'],
  ['lrr', 'lr'],
  ['x', undefined],
  ['zzz', undefined],
  ['momentum', undefined],
  ['', undefined],
])('nearest(%j) is %j', (word, expected) => {
  expect(nearest(word, flags)).toBe(expected)
})

test('of equally near candidates the first wins', () => {
  expect(nearest('cat', ['bat', 'rat'])).toBe('bat')
})
