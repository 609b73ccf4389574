import { describe, expect, test } from 'vitest'
import { inferTransformerConfig } from '../../src/models/infer-transformer.ts'
import { sinCosPositions } from '../../src/models/positions.ts'
import { parseSiTConfig, SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { Device } from '../../src/tensor/device.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { expectClose, fromValues, type NdArray, random } from '../reference/array.ts'
import { sitForward } from '../reference/sit.ts'
import { DEVICES } from '../tensor/devices.ts'
import { largestOf } from '../tensor/rounding.ts'

const [BATCH, SIDE, WIDTH] = [3, 6, 10]
const SIZES = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const OPTIONS = { inputSize: [SIDE, SIDE] as [number, number], channels: 2, classes: 4, projectorWidth: 24 }
const REG = { alignWidths: [WIDTH], alignDepth: 1, classTokenWidth: WIDTH } as const

const tiny = (options: Partial<Omit<SiTOptions, 'kind'>> & { device?: Device; seed?: number } = {}) =>
  SiT.create(SIZES, { ...OPTIONS, ...REG, alignWidths: [WIDTH], ...options })

async function stateOf(model: SiT): Promise<Map<string, NdArray>> {
  const state = new Map<string, NdArray>()
  for (const entry of model.entries) {
    using view = model.arena.view('weights', entry)
    state.set(entry.name, fromValues(entry.shape, toFloat32(await view.toHost())))
  }
  return state
}

test("the state dict has REG's names, shapes and order", () => {
  using model = tiny()
  const entries = model.entries.map(({ name, shape }) => [name, shape] as const)
  expect(entries[0]).toEqual(['pos_embed', [1, 10, 32]])
  const at = entries.findIndex(([name]) => name.startsWith('projectors.'))
  expect(entries.slice(at + 6)).toEqual([
    ['final_layer.linear.weight', [8, 32]],
    ['final_layer.linear.bias', [8]],
    ['final_layer.linear_cls.weight', [WIDTH, 32]],
    ['final_layer.linear_cls.bias', [WIDTH]],
    ['final_layer.adaLN_modulation.1.weight', [64, 32]],
    ['final_layer.adaLN_modulation.1.bias', [64]],
    ['cls_projectors2.weight', [32, WIDTH]],
    ['cls_projectors2.bias', [32]],
    ['wg_norm.weight', [32]],
    ['wg_norm.bias', [32]],
  ])
})

test("the first values are REG's", async () => {
  using model = tiny()
  const state = await stateOf(model)
  const valuesOf = (name: string) => [...state.get(name)!.data]
  expect(valuesOf('pos_embed')).toEqual([...new Array<number>(32).fill(0), ...sinCosPositions(32, 3, 3)])
  for (const name of [
    'final_layer.linear_cls.weight',
    'final_layer.linear_cls.bias',
    'cls_projectors2.bias',
    'wg_norm.bias',
  ])
    expect(new Set(valuesOf(name)), name).toEqual(new Set([0]))
  expect(new Set(valuesOf('wg_norm.weight'))).toEqual(new Set([1]))
  const projector = state.get('cls_projectors2.weight')!
  const bound = Math.sqrt(6 / (32 + WIDTH))
  expect(largestOf(projector)).toBeLessThanOrEqual(Math.fround(bound))
  // Of n uniform draws, all stay below this with a probability of e⁻²⁰.
  expect(largestOf(projector)).toBeGreaterThan(bound * (1 - 20 / projector.data.length))
})

test('what denoises a class token is added and taken away without touching any other weight', async () => {
  using model = tiny({ classTokenWidth: undefined })
  const before = await stateOf(model)
  const parts = { widths: [WIDTH], depth: 1 }
  model.align({ ...parts, classTokenWidth: WIDTH })
  expect(model.config.classTokenWidth).toBe(WIDTH)
  const state = await stateOf(model)
  for (const [name, { data }] of before) if (name !== 'pos_embed') expect(state.get(name)!.data, name).toEqual(data)
  expect([...state.keys()].filter((name) => !before.has(name))).toEqual(
    ['final_layer.linear_cls', 'cls_projectors2', 'wg_norm'].flatMap((name) => [`${name}.weight`, `${name}.bias`]),
  )
  model.align({ ...parts, classTokenWidth: undefined })
  expect(await stateOf(model)).toEqual(before)
})

test('a state dict tells that it has a class token, and of which width', () => {
  using model = tiny()
  const shapes = new Map(model.entries.map(({ name, shape }) => [name, shape]))
  expect(inferTransformerConfig(shapes, 'a file', { heads: 2 })).toEqual({ ...model.config, alignDepth: 2 })
})

/** Terms of each inner product on the way to an output: what one element went through. */
const ROUNDINGS = 2 * 2 * 2 + SIZES.depth * (32 + 10 + 16 + 32 + 32 + 128) + 32 + WIDTH + 3 * 256

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`on ${device}`, () => {
    const upload = ({ shape, data }: NdArray) => Tensor.from(Float32Array.from(data), shape, device)

    test.each<readonly [string, Partial<SiTOptions>]>([
      ['as it is', {}],
      ['with norms of queries and keys', { qkNorm: true }],
    ])('velocities and projections, %s: those of the float64 reference', async (_, options) => {
      using model = tiny({ ...options, device })
      // The adaLN-zero start makes every block the identity; the class token's position is not zero either.
      model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
      const x = random([BATCH, 2, SIDE, SIDE], 1)
      const t = fromValues([BATCH], [0.125, 0.5, 0.875])
      const labels = [0, 4, 2]
      const token = random([BATCH, WIDTH], 2, 2)
      const { depth, heads, patch } = SIZES
      const config = { patch, depth, heads, encoderDepth: 1, projectors: 1, qkNorm: model.config.qkNorm }
      const expected = sitForward(await stateOf(model), config, x, t, labels, token)
      const made = [x, t, token].map(upload)
      const [input, times, classToken] = made as [Tensor, Tensor, Tensor]
      const ids = Tensor.from(Int32Array.from(labels), [BATCH], device)
      const output = model.forward(input, times, ids, { project: true, classToken })
      const tensors = [output.prediction, output.classToken!, ...output.projections]
      const exact = [expected.output, expected.classToken!.output, ...expected.projectors.map(({ z }) => z)]
      expect(tensors).toHaveLength(3)
      for (const [i, tensor] of tensors.entries()) {
        const atol = ROUNDINGS * 2 ** -24 * largestOf(exact[i]!)
        expectClose(`output ${i}`, fromValues(tensor.shape, await tensor.data()), exact[i]!, { atol, rtol: 0 })
      }
      for (const tensor of [...made, ids, ...tensors]) tensor.dispose()
    })

    test('a model with a class token wants one, and another none', () => {
      using x = Tensor.zeros([BATCH, 2, SIDE, SIDE], device)
      using t = Tensor.zeros([BATCH], device)
      using labels = Tensor.from(new Int32Array(BATCH), [BATCH], device)
      using classToken = Tensor.zeros([BATCH, WIDTH], device)
      using withToken = tiny({ device })
      using without = tiny({ device, classTokenWidth: undefined })
      expect(() => withToken.forward(x, t, labels)).toThrow(
        'The model denoises a class token along (REG): give `classToken`, [3, 10], noised as the input is.',
      )
      expect(() => without.forward(x, t, labels, { classToken })).toThrow('The model has no class token')
    })
  })
}

test('a convolution for a projector is refused', () => {
  expect(() =>
    parseSiTConfig({ kind: 'SiT', ...SIZES, ...OPTIONS, ...REG, alignWidths: [WIDTH], projector: 'conv' }),
  ).toThrow('projector is "conv": conv reads the grid of tokens, and the class token stands in none; take mlp')
})
