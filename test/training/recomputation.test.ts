import { describe, expect, test } from 'vitest'
import { ntXent } from '../../src/alignment/nt-xent.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { RoutedBlocks } from '../../src/models/token-route.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { type Device, memoryStats, resetPeakMemory, trimMemory } from '../../src/tensor/device.ts'
import type { ComputeDType } from '../../src/tensor/dtype.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { randomTokens } from '../../src/tensor/random.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DiTObjective } from '../../src/training/dit-objective.ts'
import { forwardBackward, type PassOptions } from '../../src/training/forward-backward.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { random } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'

const [BATCH, SIDE, WIDTH] = [3, 6, 10]
const TOKENS = (SIDE / 2) ** 2

const LIGHTNINGDIT = { norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const

interface Case {
  readonly name: string
  readonly kind?: 'DiT'
  readonly model?: Partial<Omit<SiTOptions, 'kind'>>
  readonly teacher?: boolean
  /** The attention of two blocks is compared. */
  readonly attention?: boolean
  readonly route?: RoutedBlocks
  readonly options?: Partial<PassOptions>
  /** Bytes of what the model makes at its first pass and keeps. Default: nothing. */
  readonly keeps?: number
}

const CASES: readonly Case[] = [
  { name: 'SiT without alignment', model: { alignWidths: [] } },
  { name: 'SiT with REPA' },
  { name: 'SiT whose MLP has an odd width', model: { hidden: 36, heads: 3, mlpRatio: 1.25 } },
  { name: 'one block', model: { depth: 1, alignDepth: 1 } },
  { name: 'qk-norm and a convolution', model: { qkNorm: true, projector: 'conv' } },
  { name: "LightningDiT's blocks", model: LIGHTNINGDIT },
  // The sample of each token, in a block of memory.
  { name: 'a DDT head', model: { ...LIGHTNINGDIT, ddtHead: { depth: 2, hidden: 48, heads: 3 } }, keeps: 256 },
  { name: "LightningDiT's blocks with qk-norm", model: { ...LIGHTNINGDIT, qkNorm: true } },
  {
    name: 'every loss, of two states in the middle',
    model: { selfAlignment: true },
    teacher: true,
    options: {
      featureLoss: ntXent(0.1),
      selfAlignment: { weight: 1, depth: 1 },
      dispersive: { weight: 0.5, temperature: 0.5, depth: 3 },
    },
  },
  { name: 'SiT with HASTE', attention: true, options: { attention: { weight: 1, heads: 2 } } },
  {
    name: "LightningDiT's blocks with qk-norm and HASTE",
    model: { ...LIGHTNINGDIT, qkNorm: true },
    attention: true,
    options: { attention: { weight: 1, heads: 2 } },
  },
  { name: 'SiT with REG', model: { classTokenWidth: WIDTH }, options: { classTokenWeight: 0.03 } },
  { name: 'DiT with REPA', kind: 'DiT' },
  { name: 'SiT with REPA inside of a route', model: { depth: 4 }, route: { from: 2, to: 3 } },
  { name: 'DiT with REPA before a route', kind: 'DiT', model: { depth: 4 }, route: { from: 3, to: 4 } },
]

function modelOf({ kind, model }: Case, device: Device, dtype: ComputeDType): AnyTransformer {
  const { depth = 3, hidden = 32, heads = 2, ...rest } = model ?? {}
  const options = { inputSize: [SIDE, SIDE] as [number, number], channels: 2, classes: 4, projectorWidth: 24 }
  const aligned = { alignWidths: [WIDTH], alignDepth: 2, ...rest }
  const create = kind === 'DiT' ? DiT.create : SiT.create
  const made = create({ depth, hidden, heads, patch: 2 }, { ...options, ...aligned, device } as never)
  // The adaLN-zero start makes every block the identity: no gradient would reach them.
  made.arena.array('weights').write(Float32Array.from(random([made.arena.size], 11, 0.15).data))
  made.arena.allocateGradients()
  made.computeIn(dtype)
  made.arena.refreshCompute()
  return made
}

/** Losses and gradients of a pass, as they lie in memory, and the most that it took. */
async function passed(table: Case, device: Device, dtype: ComputeDType, recompute: Recomputation) {
  using model = modelOf(table, device, dtype)
  const draw = (shape: readonly number[], seed: number) =>
    Tensor.from(Float32Array.from(random(shape, seed).data), shape, device)
  const latents = draw([BATCH, 2, SIDE, SIDE], 1)
  const noise = draw([BATCH, 2, SIDE, SIDE], 2)
  const labels = Tensor.from(Int32Array.from([0, 4, 2]), [BATCH], device)
  const t =
    model instanceof DiT
      ? Tensor.from(Int32Array.from([7, 400, 930]), [BATCH], device)
      : Tensor.from(Float32Array.from([0.1, 0.5, 0.9]), [BATCH], device)
  const { sequenceTokens } = model
  const targets = model.config.alignWidths.map((width) =>
    scope(() => cast(draw([BATCH, sequenceTokens, width], 3), dtype)),
  )
  const token = model.classTokenWidth === undefined ? undefined : draw([BATCH, model.classTokenWidth], 5)
  const teacher = table.teacher ? draw([BATCH, TOKENS, model.config.hidden], 4) : undefined
  const read = (table.attention ? [6, 7] : []).map((seed) =>
    scope(() => cast(draw([BATCH, 1 + TOKENS, 48], seed), dtype)),
  )
  const subset = { batch: BATCH, tokens: TOKENS, taken: 5 }
  const kept = table.route && randomTokens(subset, { seed: 1, stream: 'keptTokens', step: 0 }, device)
  using objective = model instanceof DiT ? new DiTObjective(model) : new SiTObjective()
  resetPeakMemory(device)
  const before = memoryStats(device).liveBytes
  const route = kept && { ...table.route!, kept }
  const classToken = token && { clean: token, noise: token }
  const batch = {
    latents,
    noise,
    condition: labels,
    t,
    targets,
    teacher,
    route,
    classToken,
    ...(table.attention && { attentionTargets: read.map((qkv) => ({ qkv, heads: 2 })) }),
  }
  const losses = forwardBackward(model, batch, { alignWeight: 0.5, ...table.options, objective, recompute })
  const { peakBytes } = memoryStats(device)
  const values = await Promise.all(Object.values(losses).map(async (loss) => loss && (await loss.toHost()).data))
  const gradients = await model.arena.array('gradients').data()
  for (const loss of Object.values(losses)) loss?.dispose()
  const left = memoryStats(device).liveBytes - before
  for (const tensor of [latents, noise, labels, t, teacher, token, kept?.ids, kept?.places, ...targets, ...read])
    tensor?.dispose()
  return { values, gradients, peakBytes: peakBytes - before, left }
}

for (const { device, missing } of DEVICES) {
  const dtypes: readonly ComputeDType[] = device === 'cpu' ? ['f32'] : ['f32', 'bf16', 'f16']
  describe.skipIf(missing).each(dtypes)(`what is computed again has the same bits, on ${device} in %s`, (dtype) => {
    test.each(CASES)('$name', async (table) => {
      const kept = await passed(table, device, dtype, 'none')
      const again = await passed(table, device, dtype, 'elementwise')
      expect(kept.gradients.some((value) => value !== 0 && Number.isFinite(value))).toBe(true)
      expect(again.values).toEqual(kept.values)
      expect(again.gradients).toEqual(kept.gradients)
      expect(again.peakBytes).toBeLessThan(kept.peakBytes)
      const { keeps = 0 } = table
      expect([kept.left, again.left]).toEqual([keeps, keeps])
    })
  })
}

test('of a block the state between its branches, what both read and the activation are not kept', () => {
  // Sizes that blocks of memory have; none that is free already, and may be a little larger, is in the way.
  const [batch, side, hidden] = [4, 8, 64]
  const sizes = { depth: 3, hidden, heads: 2, patch: 2 }
  using model = SiT.create(sizes, { inputSize: [side, side], channels: 2, classes: 4, alignWidths: [] })
  model.arena.allocateGradients()
  const perBlock = (['none', 'elementwise'] as const).map((recompute) => {
    using x = Tensor.full([batch, 2, side, side], 0.1, 'cpu')
    using t = Tensor.full([batch], 0.5, 'cpu')
    using labels = Tensor.from(new Int32Array(batch), [batch], 'cpu')
    const live: number[] = []
    const observe = (name: string) => {
      if (/^blocks\.\d$/.test(name)) live.push(memoryStats('cpu').liveBytes)
    }
    trimMemory('cpu')
    using tape = new Tape({ recompute })
    tape.record(() => model.forward(x, t, labels, { observe }))
    expect(live).toHaveLength(3)
    return live[2]! - live[1]!
  })
  // f32 of every token: the stream, two norms, and the MLP's four times as many.
  expect(perBlock[0]! - perBlock[1]!).toBe(4 * batch * (side / 2) ** 2 * hidden * (1 + 2 + 4))
})
