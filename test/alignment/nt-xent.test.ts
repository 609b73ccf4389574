import { expect, test } from 'vitest'
import { ntXent } from '../../src/alignment/nt-xent.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { type NdArray, random } from '../reference/array.ts'
import { matchingLoss } from '../reference/contrast.ts'

const [IMAGES, TOKENS, WIDTH] = [3, 12, 10]
const TEMPERATURE = 0.2

const projection = random([IMAGES * TOKENS, WIDTH], 1)
const target = random([IMAGES * TOKENS, WIDTH], 2)

const tensorOf = ({ data }: NdArray) => Tensor.from(Float32Array.from(data), [IMAGES, TOKENS, WIDTH], 'cpu')

/** Over tokens of so many images at a time. */
function exact(images: number): number {
  const { data } = matchingLoss(projection, target, images * TOKENS, TEMPERATURE)
  return data.reduce((sum, value) => sum + value, 0) / data.length
}

test('a token is told apart from those of its image and of its neighbours', async () => {
  using loss = scope(() => ntXent(TEMPERATURE)(tensorOf(projection), tensorOf(target), 1, undefined))
  // Cosines over the temperature are rounded to 2^-24 of 1 / 0.2, some ten times in a row.
  const tolerance = (10 * 2 ** -24) / TEMPERATURE
  expect(Math.abs((await loss.data())[0]! - exact(IMAGES))).toBeLessThan(tolerance)
  expect(Math.abs(exact(1) - exact(IMAGES))).toBeGreaterThan(1)
})
