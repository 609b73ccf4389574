/** As many tokens in another grid have tensors of the same shapes, and other positions. */
import { expect, test } from 'vitest'
import { SiT } from '../../src/models/sit.ts'
import { requireSameComputation } from '../../src/training/requirements.ts'

function configOf([height, width]: readonly [number, number]) {
  const sizes = { depth: 1, hidden: 16, heads: 2, patch: 2, classes: 3 }
  using model = SiT.create(sizes, { inputSize: [height, width] })
  return model.config
}

test.each<[saved: readonly [number, number], own: readonly [number, number], grids?: [string, string]]>([
  [
    [6, 10],
    [6, 10],
  ],
  [
    [6, 10],
    [10, 6],
    ['3 × 5', '5 × 3'],
  ],
  [
    [8, 18],
    [12, 12],
    ['4 × 9', '6 × 6'],
  ],
])('a checkpoint of latents of %j is gone on with on %j: %j', (saved, own, grids) => {
  const goOn = () => requireSameComputation('0000001', configOf(saved), configOf(own))
  if (grids === undefined) return expect(goOn).not.toThrow()
  const [its, ours] = grids
  expect(goOn).toThrow(
    new RangeError(`0000001 is of a model of ${its} tokens, this run's has ${ours}; \`init\` begins from its weights.`),
  )
})
