import { describe, expect, test } from 'vitest'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { ParameterList } from '../../src/nn/parameter-list.ts'
import { DinoHead } from '../../src/pretraining/dino-head.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random } from '../reference/array.ts'
import { l2Normalize, l2NormalizeBackward } from '../reference/contrast.ts'
import { linear, linearBackward } from '../reference/linear.ts'
import { DEVICES } from '../tensor/devices.ts'
import { expectRounded, largestOf } from '../tensor/rounding.ts'

const SIZES = { input: 6, hidden: 9, bottleneck: 7, prototypes: 11 }
const ROWS = 5

const x = random([ROWS, SIZES.input], 8)
const centre = random([SIZES.prototypes], 9, 0.1)
const dOut = random([ROWS, SIZES.prototypes], 10)

const w0 = random([SIZES.hidden, SIZES.input], 1)
const b0 = random([SIZES.hidden], 2)
const w2 = random([SIZES.hidden, SIZES.hidden], 3)
const b2 = random([SIZES.hidden], 4)
const w4 = random([SIZES.bottleneck, SIZES.hidden], 5)
const b4 = random([SIZES.bottleneck], 6)
const prototypes = random([SIZES.prototypes, SIZES.bottleneck], 7)

const WEIGHTS: Readonly<Record<string, NdArray>> = {
  'head.mlp.0.weight': w0,
  'head.mlp.0.bias': b0,
  'head.mlp.2.weight': w2,
  'head.mlp.2.bias': b2,
  'head.mlp.4.weight': w4,
  'head.mlp.4.bias': b4,
  'head.last_layer.weight_v': prototypes,
}

/** The head in float64, and what the gradient of its result becomes. */
function exact(): { out: NdArray; gradients: Readonly<Record<string, NdArray>> } {
  const first = linear(x, w0, b0, 'gelu-erf')
  const second = linear(first, w2, b2, 'gelu-erf')
  const third = linear(second, w4, b4)
  const unit = l2Normalize(third)
  const directions = l2Normalize(prototypes)
  const last = linearBackward(dOut, unit, directions, undefined)
  const d4 = linearBackward(l2NormalizeBackward(last.dx, third), second, w4, b4)
  const d2 = linearBackward(d4.dx, first, w2, b2, 'gelu-erf')
  const d0 = linearBackward(d2.dx, x, w0, b0, 'gelu-erf')
  return {
    out: linear(unit, directions, { ...centre, data: centre.data.map((value) => -value) }),
    gradients: {
      'head.mlp.0.weight': d0.dWeight,
      'head.mlp.0.bias': d0.dBias,
      'head.mlp.2.weight': d2.dWeight,
      'head.mlp.2.bias': d2.dBias,
      'head.mlp.4.weight': d4.dWeight,
      'head.mlp.4.bias': d4.dBias,
      'head.last_layer.weight_v': l2NormalizeBackward(last.dWeight, prototypes),
      x: d0.dx,
    },
  }
}

/** Roundings of a term on its way through all layers: the products' lengths, two unit lengths, three activations' worth of slopes. */
const ROUNDINGS = SIZES.input + 2 * SIZES.hidden + 3 * SIZES.bottleneck + SIZES.prototypes + 16
/** A layer's error grows with the width of the next, whose weights are 0.6 on average. */
const GROWTH = 0.6 * SIZES.hidden

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`DINO's head on ${device}`, () => {
    const build = () => {
      const list = new ParameterList()
      const head = new DinoHead(list, 'head', SIZES)
      const arena = new ParameterArena(list.parameters, device)
      for (const entry of list.entries) {
        const values = WEIGHTS[entry.name]!
        expect(entry.shape).toEqual(values.shape)
        using view = arena.view('weights', entry)
        view.write(Float32Array.from(values.data))
      }
      arena.allocateGradients()
      return { entries: list.entries, head, arena }
    }
    const upload = (a: NdArray) => Tensor.from(Float32Array.from(a.data), a.shape, device)

    test('prototypes begin evenly spread within 1 over the root of the bottleneck, as torch.nn.Linear has it', async () => {
      const list = new ParameterList()
      new DinoHead(list, 'head', { ...SIZES, bottleneck: 256, prototypes: 100 })
      const { shape, initialise } = list.entries.find(({ name }) => name === 'head.last_layer.weight_v')!
      using prototypes = Tensor.zeros(shape, device)
      initialise(prototypes, { seed: 1, stream: 'initialisation', step: 0 })
      const values = [...(await prototypes.data())]
      const most = 1 / Math.sqrt(256)
      expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(most)
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length)
      // Of 25,600 even numbers within ±b: b / √3, within five of its own deviations, √(1/5) / √N of it or so.
      const even = most / Math.sqrt(3)
      expect(Math.abs(deviation / even - 1)).toBeLessThan((5 * Math.sqrt(1 / 5)) / Math.sqrt(values.length))
    })

    test.each([{ frozen: false }, { frozen: true }])(
      'cosines with the prototypes, and all gradients; prototypes frozen: $frozen',
      async ({ frozen }) => {
        const { entries, head, arena } = build()
        const expected = exact()
        using input = upload(x)
        using negativeCentre = upload({ ...centre, data: centre.data.map((value) => -value) })
        using tape = new Tape()
        tape.watch(input)
        using out = tape.record(() => head.forward(input, head.unitPrototypes({ frozen }), negativeCentre))
        tape.seed(out, upload(dOut))
        const gradients = tape.backward(arena.parameters)
        const check = (name: string, values: ArrayLike<number>, wanted: NdArray) =>
          expectRounded(name, fromValues(wanted.shape, values), wanted, {
            roundings: ROUNDINGS,
            scale: GROWTH * Math.max(1, largestOf(wanted)),
          })
        check('logits', await out.data(), expected.out)
        check('x', await gradients.get(input)!.data(), expected.gradients.x!)
        for (const entry of entries) {
          using gradient = arena.view('gradients', entry)
          const values = await gradient.data()
          if (frozen && entry.name === 'head.last_layer.weight_v')
            expect(values.every((value) => value === 0)).toBe(true)
          else check(entry.name, values, expected.gradients[entry.name]!)
        }
        gradients.dispose()
        arena.dispose()
      },
    )

    test.skipIf(device === 'cpu').each(['bf16', 'f16'] as const)('computes in %s', async (dtype) => {
      const { entries, head, arena } = build()
      arena.computeIn(dtype)
      const expected = exact()
      using input = upload(x)
      using tape = new Tape()
      tape.watch(input)
      using out = tape.record(() => head.forward(input, head.unitPrototypes({ frozen: false })))
      expect(out.dtype).toBe('f32')
      tape.seed(out, upload(dOut))
      tape.backward(arena.parameters).dispose()
      // Either operand of a product is rounded, in four products there and four back: each moves what comes out by a unit roundoff of
      // its length.
      const bound = 16 * (dtype === 'bf16' ? 2 ** -8 : 2 ** -11)
      for (const entry of entries) {
        using gradient = arena.view('gradients', entry)
        const values = await gradient.data()
        const wanted = expected.gradients[entry.name]!
        const error = Math.hypot(...values.map((value, i) => value - wanted.data[i]!))
        expect(error / Math.hypot(...wanted.data), entry.name).toBeLessThan(bound)
      }
      arena.dispose()
    })
  })
}
