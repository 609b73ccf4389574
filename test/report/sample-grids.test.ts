import { expect, test } from 'vitest'
import { chooseSteps } from '../../src/report/sample-grids.ts'

const every = (step: number, last: number) => Array.from({ length: last / step }, (_, i) => (i + 1) * step)

test.each<[string, number[][], limit: number, expected: number[]]>([
  ['no run has any', [[], []], 12, []],
  ['one run', [every(10, 100)], 3, [10, 60, 100]],
  ['the same steps', [every(10, 40), every(10, 40)], 12, [10, 20, 30, 40]],
  ['one run without any', [every(10, 40), []], 12, [10, 20, 30, 40]],
  ['one drawn more often: what both have', [every(10, 40), every(20, 40)], 12, [20, 40]],
  ['one that has come further: what both have, and the last', [every(10, 80), every(20, 40)], 12, [20, 40, 80]],
  ['the limit counts the last too', [every(10, 90), every(10, 60)], 3, [10, 60, 90]],
  [
    'nothing in common: all',
    [
      [10, 30],
      [20, 40],
    ],
    12,
    [10, 20, 30, 40],
  ],
  ['no grids wanted', [[10], [10]], 0, []],
])('%s', (_, available, limit, expected) => {
  expect([...chooseSteps(available, limit)]).toEqual(expected)
})
