import { describe, expect, test } from 'vitest'
import type { Dataset } from '../../src/data/dataset.ts'
import { probeSplit } from '../../src/evaluation/probe.ts'

type Described = Pick<Dataset, 'path' | 'length' | 'classes' | 'classNames' | 'imageSize'>

/** Nothing of a data set is read to split it. */
const dataset = (changes: Partial<Described> & Pick<Described, 'path'>) =>
  ({ length: 50, classes: 3, classNames: undefined, hasImages: true, imageSize: 32, ...changes }) as Dataset

const names = (...classNames: string[]) => ({ classNames, classes: classNames.length })

test('a fifth is held out, drawn by the seed', () => {
  const data = dataset({ path: 'data' })
  const { train, test: held } = probeSplit({ data, seed: 1 })
  expect([train.length, held.length]).toEqual([40, 10])
  expect([...train, ...held].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
  expect(probeSplit({ data, seed: 1 })).toEqual({ train, test: held })
  expect(probeSplit({ data, seed: 2 }).test).not.toEqual(held)
  expect(probeSplit({ data, seed: 1, images: 20 }).train).toHaveLength(16)
})

test('another data set is tested on whole', () => {
  const parts = probeSplit({ data: dataset({ path: 'data' }), test: dataset({ path: 'val', length: 7 }), seed: 1 })
  expect([parts.train.length, [...parts.test]]).toEqual([50, [0, 1, 2, 3, 4, 5, 6]])
})

describe('what is tested on must have the classes that were trained on, at their indices', () => {
  const data = dataset({ path: 'data', ...names('cat', 'dog', 'fox') })
  test.each([
    { name: 'the same', other: names('cat', 'dog', 'fox') },
    { name: 'the first of them', other: names('cat', 'dog') },
    { name: 'no names, as the reference writes none', other: { classes: 3 } },
  ])('$name', ({ other }) => {
    const tested = dataset({ path: 'val', ...other })
    expect(probeSplit({ data, test: tested, seed: 1 }).test).toHaveLength(50)
  })

  test.each([
    {
      name: 'one is missing, and the others have moved up',
      other: names('cat', 'fox'),
      message:
        "Class 1 is 'fox' in 'val' and 'dog' in 'data'; probes are tested on the classes that they were trained on.",
    },
    {
      name: 'one more',
      other: names('cat', 'dog', 'fox', 'hen'),
      message: "'val' has 4 classes and 'data' 3; probes are tested on the classes that they were trained on.",
    },
    { name: 'one more, without names', other: { classes: 4 }, message: "'val' has 4 classes and 'data' 3" },
    {
      name: 'images of another size',
      other: { ...names('cat', 'dog', 'fox'), imageSize: 64 },
      message: "The images in 'val' have 64 pixels a side, those in 'data' 32; prepare both to one size.",
    },
  ])('not: $name', ({ other, message }) => {
    const tested = dataset({ path: 'val', ...other })
    expect(() => probeSplit({ data, test: tested, seed: 1 })).toThrow(message)
  })
})
