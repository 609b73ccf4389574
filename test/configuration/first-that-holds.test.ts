import { expect, test } from 'vitest'
import { firstThatHolds } from '../../src/configuration/first-that-holds.ts'

test.each<[table: readonly (readonly [unknown, string])[], expected: string | undefined]>([
  [[], undefined],
  [[[false, 'a']], undefined],
  [
    [
      [undefined, 'a'],
      [0, 'b'],
      [null, 'c'],
    ],
    undefined,
  ],
  [
    [
      [false, 'a'],
      [true, 'b'],
      [true, 'c'],
    ],
    'b',
  ],
  [[[{ name: 'there is one' }, 'a']], 'a'],
])('of %j it is %j', (table, expected) => {
  expect(firstThatHolds(table)).toBe(expected)
})
