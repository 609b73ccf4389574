import { describe, expect, test } from 'vitest'
import { expandBraces, requireOneSplit } from '../../src/data/shards.ts'

test.each([
  ['plain.tar', ['plain.tar']],
  ['s/{0000..0002}.tar', ['s/0000.tar', 's/0001.tar', 's/0002.tar']],
  ['{8..11}.tar', ['8.tar', '9.tar', '10.tar', '11.tar']],
  // A zero alone is a number, not digits to be filled up.
  ['{0..10}', ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10']],
  ['{09..10}', ['09', '10']],
  ['{a,b}-{0..1}', ['a-0', 'a-1', 'b-0', 'b-1']],
  ['odd{name}.tar', ['odd{name}.tar']],
  ['x{,y}', ['x', 'xy']],
])('expandBraces(%s)', (pattern, names) => {
  expect(expandBraces(pattern)).toEqual(names)
})

test.each([
  ['{3..1}', 'has the range 3..1; the first number must come first.'],
  ['{1..9999999}', 'has the range 1..9999999'],
  ['{0..9999}{0..9999}', 'stands for more than 1000000 names'],
])('expandBraces refuses %s', (pattern, message) => {
  expect(() => expandBraces(pattern)).toThrow(message)
})

describe('requireOneSplit', () => {
  test.each([
    [['train-00000-of-00002.parquet', 'train-00001-of-00002.parquet']],
    [['0.tar', '1.tar', '12.tar']],
    [['cat.tar', 'dog.tar']],
    [['a/part.000.tar', 'a/part.001.tar']],
    // `datasets` once wrote a hash behind the number.
    [['train-00000-of-00002-6f5b7a43b2d8a9c1.parquet', 'train-00001-of-00002-0123456789abcdef.parquet']],
    [['part-00000-1b4e28ba-c000.snappy.parquet', 'part-00001-1b4e28ba-c000.snappy.parquet']],
    // Classes, not splits.
    [['test tube.tar', 'train.tar', 'valley.tar']],
    [['n01440764.tar', 'n01443537.tar']],
  ])('accepts %j', (names) => {
    expect(() => requireOneSplit('folder', names)).not.toThrow()
  })

  test.each([
    [['test-0.tar', 'train-0.tar', 'train-1.tar'], "'test' (1), 'train' (2)"],
    // A shard each, as most downloads of small sets are.
    [['test-00000-of-00001.parquet', 'train-00000-of-00001.parquet'], "'test' (1), 'train' (1)"],
    [
      ['data/test-00000-of-00001-e9b1.parquet', 'data/train-00000-of-00001-6f5b7a43.parquet'],
      "'data/test' (1), 'data/train' (1)",
    ],
    [['test.parquet', 'train.parquet'], "'test' (1), 'train' (1)"],
    [
      ['plain_text/train/0000.parquet', 'plain_text/test/0000.parquet'],
      "'plain_text/train/' (1), 'plain_text/test/' (1)",
    ],
    [['val.tar.gz', 'train.tar.gz'], "'val' (1), 'train' (1)"],
  ])('refuses the shards of two sets: %j', (names, counts) => {
    expect(() => requireOneSplit('folder', names)).toThrow(`the shards of 2 sets: ${counts}. Name those of one`)
  })
})
