import { describe, expect, test } from 'vitest'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const SIZE = { depth: 2, hidden: 16, heads: 2, patch: 2 } as const
const INPUT = { channels: 4, inputSize: [8, 16] as [number, number] }
const TEXT = { tokens: 3, width: 5 }

const NETWORKS = [
  { network: 'a SiT', create: () => SiT.create(SIZE, { ...INPUT, classes: 2 }) },
  { network: 'a DiT', create: () => DiT.create(SIZE, { ...INPUT, classes: 2 }) },
  {
    network: 'a SiT with a class token',
    create: () => SiT.create(SIZE, { ...INPUT, classes: 2, classTokenWidth: 3 }),
  },
  {
    network: 'a SiT with a DDT head',
    create: () => SiT.create(SIZE, { ...INPUT, classes: 2, ddtHead: { depth: 1, hidden: 32, heads: 2 } }),
  },
  { network: 'a SiT of text', create: () => SiT.create(SIZE, { ...INPUT, classes: 0, text: TEXT }) },
] as const

/** As many tokens as the model's 4 x 8 in the first two, and as many numbers as an input of the model in the first and the last. */
const OTHERS = [
  [2, 4, 16, 8],
  [2, 4, 4, 32],
  [2, 4, 8, 8],
  [2, 3, 8, 16],
  [8, 8, 16],
  [2, 4, 8, 16, 1],
].map((shape) => ({ shape }))

describe.each(NETWORKS)('$network of inputs of 4 x 8 x 16', ({ create }) => {
  const conditionOf = (model: SiT | DiT) =>
    model.text ? Tensor.zeros([2, TEXT.tokens, TEXT.width], 'cpu') : Tensor.from(Int32Array.of(0, 1), [2], 'cpu')
  const classTokenOf = (model: SiT | DiT) =>
    model.classTokenWidth === undefined ? undefined : Tensor.zeros([2, model.classTokenWidth], 'cpu')

  test.each(OTHERS)('refuses one of shape $shape', ({ shape }) => {
    using model = create()
    scope(() => {
      const [x, t, condition] = [Tensor.zeros(shape, 'cpu'), Tensor.zeros([2], 'cpu'), conditionOf(model)]
      const refusal = new RangeError(`The input has shape [${shape.join(', ')}]; the model takes [B, 4, 8, 16].`)
      expect(() => model.forward(x, t, condition, { classToken: classTokenOf(model) })).toThrow(refusal)
      expect(() => model.hiddenStates(x, t, condition, 1)).toThrow(refusal)
    })
  })

  test('takes its own', () => {
    using model = create()
    scope(() => {
      const [x, t, condition] = [Tensor.zeros([2, 4, 8, 16], 'cpu'), Tensor.zeros([2], 'cpu'), conditionOf(model)]
      const { prediction } = model.forward(x, t, condition, { classToken: classTokenOf(model) })
      expect(prediction.shape).toEqual([2, model.config.learnSigma ? 8 : 4, 8, 16])
    })
  })
})
