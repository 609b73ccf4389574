import { expect, test } from 'vitest'
import { SiT } from '../../src/models/sit.ts'
import { keptTokens, type RoutedBlocks } from '../../src/models/token-route.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { randomTokens } from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { expectClose, fromValues, type NdArray, random } from '../reference/array.ts'
import { sitForward } from '../reference/sit.ts'
import { DEVICES } from '../tensor/devices.ts'

const DEPTH = 5
const [BATCH, TOKENS, KEPT, WIDTH] = [2, 12, 7, 10]
const INPUT = [BATCH, 2, 6, 8]

async function parametersOf(model: SiT): Promise<Map<string, NdArray>> {
  const parameters = new Map<string, NdArray>()
  for (const entry of model.entries) {
    using view = model.arena.view('weights', entry)
    const { shape } = entry
    parameters.set(entry.name, fromValues(shape, Float64Array.from(toFloat32(await view.toHost()))))
  }
  return parameters
}

interface Case {
  readonly name: string
  readonly route: RoutedBlocks
  readonly alignDepth: number
  /** Of the projections. */
  readonly aligned: number
}

const CASES: readonly Case[] = [
  { name: 'one block, aligned before it', route: { from: 2, to: 2 }, alignDepth: 1, aligned: TOKENS },
  { name: 'one block, aligned behind it', route: { from: 3, to: 3 }, alignDepth: 3, aligned: TOKENS },
  { name: 'some blocks, aligned inside', route: { from: 2, to: 4 }, alignDepth: 3, aligned: KEPT },
  { name: 'some blocks, aligned behind the first', route: { from: 2, to: 3 }, alignDepth: 2, aligned: KEPT },
  { name: 'all blocks but the first', route: { from: 2, to: DEPTH }, alignDepth: DEPTH, aligned: TOKENS },
]

for (const { device, missing } of DEVICES) {
  test.skipIf(missing).each(CASES)(`a route past $name, on ${device}, is the reference's`, async (table) => {
    const { route, alignDepth, aligned } = table
    using model = SiT.create(
      { depth: DEPTH, hidden: 32, heads: 2, patch: 2 },
      { inputSize: [6, 8], channels: 2, classes: 4, projectorWidth: 24, alignWidths: [WIDTH], alignDepth, device },
    )
    model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
    model.arena.refreshCompute()
    const [x, t] = [random(INPUT, 1), fromValues([BATCH], [0.2, 0.7])]
    const on = ({ data, shape }: NdArray) => Tensor.from(Float32Array.from(data), shape, device)
    const subset = { batch: BATCH, tokens: TOKENS, taken: KEPT }
    const kept = randomTokens(subset, { seed: 3, stream: 'keptTokens', step: 1 }, device)
    const labels = Tensor.from(Int32Array.of(1, 4), [BATCH], device)
    const given = [on(x), on(t), labels] as const
    const { prediction, projections } = model.forward(...given, { project: true, route: { ...route, kept } })
    const config = { patch: 2, depth: DEPTH, heads: 2, encoderDepth: alignDepth, projectors: 1, qkNorm: false }
    const ids = await kept.ids.dataAs('i32')
    const parameters = await parametersOf(model)
    const rounded = { data: Float64Array.from(Float32Array.from(t.data)), shape: t.shape }
    const expected = sitForward(parameters, { ...config, route: { ...route, ids } }, x, rounded, [1, 4])
    // Five blocks of products of 128 terms at most; a token more or less in them would show in the first digit.
    const tolerance = { atol: 1e-5, rtol: 1e-5 }
    const valuesOf = async (tensor: Tensor) => fromValues(tensor.shape, Float64Array.from(await tensor.data()))
    expect(projections[0]!.shape).toEqual([BATCH, aligned, WIDTH])
    expectClose('prediction', await valuesOf(prediction), expected.output, tolerance)
    expectClose('projection', await valuesOf(projections[0]!), expected.projectors[0]!.z, tolerance)
    const { output } = sitForward(parameters, config, x, rounded, [1, 4])
    expect(Math.max(...output.data.map((value, i) => Math.abs(value - expected.output.data[i]!)))).toBeGreaterThan(0.01)
    for (const tensor of [...given, ...projections, prediction, kept.ids, kept.places]) tensor.dispose()
  })
}

test.each([
  [256, 0.5, 128],
  [64, 0.5, 32],
  [9, 0.5, 5],
  [256, 0.3, 180],
])('of %d tokens a share of %d goes past, and %d are kept', (tokens, share, kept) => {
  expect(keptTokens(tokens, share)).toBe(kept)
})
