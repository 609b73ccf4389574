/** A run that begins from weights: what of them it takes, and that it computes with them as the model did that they are of. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import {
  type AnyTransformer,
  transformerConfigSchema,
  transformerFromConfig,
} from '../../src/models/transformer-kinds.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { saveCheckpoint } from '../../src/training/checkpoint.ts'
import type { TrainingOptions } from '../../src/training/configuration.ts'
import { loadInitialWeights, settingsOfWeights } from '../../src/training/initial-weights.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { train } from '../../src/training/run.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** How a model differs from the base. */
type Change = Readonly<Record<string, unknown>>

const BASE = { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 2, inputSize: [4, 4], classes: 3, projectorWidth: 8 }
const DIT = { kind: 'DiT' }
const PLAIN_DIT = { ...DIT, learnSigma: false }
/** The original SiT. */
const ORIGINAL = { learnSigma: true, convention: 'sit' }
const LIGHTNINGDIT = { norm: 'rmsNorm', ffn: 'swiglu', rope: true }
const ALIGNED = { alignWidths: [8], alignDepth: 1 }
const SRA = { selfAlignment: true }
const REG = { ...ALIGNED, classTokenWidth: 8 }
/** As wide as the trunk, so that its tensors do not tell which blocks are its own. */
const headOf = (depth: number, heads = 2) => ({ ddtHead: { depth, hidden: 32, heads } })
const textOf = (tokens: number) => ({ classes: 0, text: { tokens, width: 20 } })

function modelOf(change: Change, seed: number): AnyTransformer {
  const model = transformerFromConfig(transformerConfigSchema.parse({ ...BASE, ...change }), 'cpu')
  model.initialise(seed)
  for (const [i, entry] of model.entries.entries()) {
    if (isTable(entry.name)) continue
    using view = model.arena.view('weights', entry)
    view.write(Float32Array.from(random(entry.shape, 1000 * seed + i).data))
  }
  return model
}

/** Whether a tensor follows from the sizes. */
const isTable = (name: string): boolean => name === 'pos_embed' || /feat_rope\.freqs_(cos|sin)$/.test(name)

async function tensorsOf(model: AnyTransformer, role: 'weights' | 'ema'): Promise<Map<string, HostTensor>> {
  const tensors = model.entries.map(async (entry): Promise<[string, HostTensor]> => {
    using view = model.arena.view(role, entry)
    return [entry.name, await view.toHost()]
  })
  return new Map(await Promise.all(tensors))
}

/** The folder of a run of such a model. */
async function runOf(model: AnyTransformer): Promise<string> {
  const run = temporaryFolder()
  using optimizer = new AdamW(model.arena)
  const state = { step: 1, updates: 1, skipped: 0, seed: 0, configuration: null }
  await saveCheckpoint(join(run, 'checkpoints'), model, optimizer.moments, state)
  return run
}

/** A file of its weights; with `args`, what a script of these arguments saves. */
async function fileOf(model: AnyTransformer, args?: Readonly<Record<string, string | number>>): Promise<string> {
  const path = join(temporaryFolder(), args ? 'weights.pt' : 'weights.safetensors')
  const tensors = await tensorsOf(model, 'weights')
  if (args) await writeTorchCheckpoint(path, { ema: tensors, args })
  else
    await writeSafetensors(
      path,
      Array.from(tensors, ([name, tensor]) => ({ name, ...tensor })),
    )
  return path
}

/** As training leaves an original SiT: nothing has read the second half of its output, and its weights are zeros as at first. */
async function leaveHalf(model: AnyTransformer): Promise<void> {
  const entry = model.entries.find(({ name }) => name === 'final_layer.linear.weight')!
  using view = model.arena.view('weights', entry)
  const [, width] = entry.shape as [number, number]
  // Rows are (py, px, channel).
  const isUnread = (i: number) => Math.floor(i / width) % 8 >= 4
  view.write((await view.data()).map((value, i) => (isUnread(i) ? 0 : value)))
}

/** Begins a model from the weights at `path`; gives what it is told, with C for the path. */
async function begin(model: AnyTransformer, path: string): Promise<string[]> {
  const notices: string[] = []
  const named = (sentence: string) => sentence.replaceAll(path, 'C')
  const onNotice = (sentence: string) => notices.push(named(sentence))
  await loadInitialWeights(model, path, { path: 'linear', onNotice }).catch((error: Error) => {
    throw new Error(named(error.message))
  })
  return notices
}

const ADVICE = "; leave out `model`, and the model is the weights' own."

describe("a run's folder says what its model computes, and another computation is refused", () => {
  const CASES: readonly (readonly [saved: Change, own: Change, message: string])[] = [
    [{}, { heads: 4 }, "of a model with heads 2, this run's has 4"],
    [{}, { convention: 'sit' }, "of a SiT whose time runs by the convention repa, this run's by sit"],
    [ORIGINAL, { learnSigma: true }, "of a SiT whose time runs by the convention sit, this run's by repa"],
    [{}, PLAIN_DIT, "of a SiT, this run's model is a DiT"],
    [PLAIN_DIT, {}, "of a DiT, this run's model is a SiT"],
    [DIT, ORIGINAL, "of a DiT, this run's model is a SiT"],
    [headOf(1), headOf(1, 4), "of a model with a DDT head of heads 2, this run's has one of 4"],
    [headOf(1), { depth: 1, ...headOf(2) }, "of a model with a DDT head of depth 1, this run's has one of 2"],
    [textOf(5), { ...textOf(5), heads: 4 }, "of a model with heads 2, this run's has 4"],
  ]
  test.each(CASES)('%j for %j', async (saved, own, message) => {
    using source = modelOf(saved, 1)
    using model = modelOf(own, 2)
    const before = await model.arena.array('weights').data()
    await expect(begin(model, await runOf(source))).rejects.toThrow(`C is ${message}${ADVICE}`)
    expect(await model.arena.array('weights').data()).toEqual(before)
  })
})

describe('what fine-tuning changes begins anew, and the rest is taken', () => {
  const CASES: readonly (readonly [
    saved: Change,
    own: Change,
    anew: Readonly<Record<string, number>>,
    leftOut?: readonly string[],
  ])[] = [
    [{}, {}, {}],
    [{}, { classes: 5 }, { 'label table': 1 }],
    [{}, { classDropout: 0 }, { 'label table': 1 }],
    [{ classDropout: 0 }, {}, { 'label table': 1 }],
    [{}, { classDropout: 0.5 }, {}],
    [{}, { inputSize: [4, 6] }, {}],
    [{ inputSize: [4, 6] }, { inputSize: [4, 6], classes: 5 }, { 'label table': 1 }],
    [{}, ALIGNED, { projectors: 6 }],
    [ALIGNED, {}, {}, ['projectors, 6 tensors; `encoders` takes']],
    [ALIGNED, { ...ALIGNED, alignDepth: 2 }, {}],
    [ALIGNED, { ...ALIGNED, projector: 'conv' }, { projectors: 2 }],
    [ALIGNED, { ...ALIGNED, projectorWidth: 4 }, { projectors: 5 }],
    [ALIGNED, { ...ALIGNED, alignWidths: [8, 8] }, { projectors: 6 }],
    [{ ...ALIGNED, alignWidths: [8, 8] }, ALIGNED, {}, ['projectors, 6 tensors; `encoders` takes']],
    [{}, SRA, { 'head of self-alignment': 4 }],
    [SRA, {}, {}, ['head of self-alignment, 4 tensors; `selfAlignWeight` takes']],
    [SRA, SRA, {}],
    [ALIGNED, SRA, { 'head of self-alignment': 4 }, ['projectors, 6 tensors; `encoders` takes']],
    [SRA, ALIGNED, { projectors: 6 }, ['head of self-alignment, 4 tensors; `selfAlignWeight` takes']],
    [REG, ALIGNED, {}, ["class token's layers, 6 tensors; `classTokenWeight` takes"]],
    [REG, REG, {}],
    [ALIGNED, REG, { "class token's layers": 6 }],
    [textOf(5), { ...textOf(7), ...SRA }, { 'head of self-alignment': 4 }],
    [DIT, { ...DIT, classes: 5 }, { 'label table': 1 }],
    [headOf(1), { ...headOf(1), classes: 5 }, { 'label table': 1 }],
  ]
  const ways = [
    ['a run', runOf],
    ['a file', fileOf],
  ] as const
  const cases = ways.flatMap(([what, write]) =>
    CASES.map(([saved, own, anew, leftOut = []]) => [what, saved, own, anew, leftOut, write] as const),
  )
  test.each(cases)('%s of %j for %j', async (_, saved, own, anew, leftOut, write) => {
    using source = modelOf(saved, 1)
    using model = modelOf(own, 2)
    const [given, begun] = [await tensorsOf(source, 'weights'), await tensorsOf(model, 'weights')]
    const notices = await begin(model, await write(source))
    const begunAnew = Object.entries(anew).map(
      ([part, count]) =>
        `C has no ${part} of this model's shape; what it begins with is drawn anew: ${count === 1 ? '1 tensor' : `${count} tensors`}.`,
    )
    const notTaken = leftOut.map((part) => `Left out of C: its ${part} them along.`)
    expect(new Set(notices)).toEqual(new Set([...begunAnew, ...notTaken]))
    expect(notices).toHaveLength(begunAnew.length + notTaken.length)
    const [weights, ema] = [await tensorsOf(model, 'weights'), await tensorsOf(model, 'ema')]
    let kept = 0
    for (const [name, tensor] of weights) {
      const there = given.get(name)
      const isTaken = String(there?.shape) === String(tensor.shape) && !isTable(name)
      expect(tensor, name).toEqual((isTaken ? given : begun).get(name))
      if (isTaken) expect(ema.get(name), name).toEqual(tensor)
      else if (!isTable(name)) kept++
    }
    expect(kept).toBe(Object.values(anew).reduce((sum, count) => sum + count, 0))
  })
})

describe('tables of positions are those of the model that begins, whatever the size', () => {
  const ROTARY = { rope: true }
  const BLOCKS: Readonly<Record<string, Change>> = {
    SiT: {},
    'rotary positions': ROTARY,
    "LightningDiT's": LIGHTNINGDIT,
    'a DDT head': { ...ROTARY, ddtHead: { depth: 1, hidden: 48, heads: 3 } },
    'a DiT with rotary positions': { ...DIT, ...ROTARY },
    text: textOf(5),
  }
  const CHANGES: Readonly<Record<string, readonly [saved: Change, own: Change, anew: readonly string[]]>> = {
    'the same size': [{}, {}, []],
    'a larger one': [{}, { inputSize: [8, 8] }, []],
    'one that is not square': [{}, { inputSize: [4, 6] }, []],
    'another grid of as many tokens': [{ inputSize: [4, 16] }, { inputSize: [8, 8] }, []],
    'REPA to REG': [ALIGNED, { ...ALIGNED, classTokenWidth: 8 }, ["class token's layers"]],
    'other classes': [{}, { classes: 5 }, ['label table']],
  }
  const isPossible = (blocks: string, change: string) =>
    change === 'REPA to REG'
      ? !['a DDT head', 'text'].includes(blocks) && !blocks.startsWith('a DiT')
      : !(blocks === 'text' && change === 'other classes')
  const cases = Object.keys(BLOCKS).flatMap((blocks) =>
    Object.keys(CHANGES).flatMap((change) => (isPossible(blocks, change) ? [[blocks, change] as const] : [])),
  )
  test.each(cases)('%s, %s', async (blocks, change) => {
    const [saved, own, anew] = CHANGES[change]!
    using source = modelOf({ ...BLOCKS[blocks], ...saved }, 1)
    using fresh = modelOf({ ...BLOCKS[blocks], ...own }, 3)
    const expected = await tensorsOf(fresh, 'weights')
    for (const write of [runOf, fileOf]) {
      using model = modelOf({ ...BLOCKS[blocks], ...own }, 2)
      const told = await begin(model, await write(source))
      const ofParts = told.filter((sentence) => / of this model's shape/.test(sentence))
      expect(ofParts.map((sentence) => /has no (.*) of this model's shape/.exec(sentence)![1])).toEqual(anew)
      const others = told.filter(
        (sentence) => !ofParts.includes(sentence) && !/as the model setting says/.test(sentence),
      )
      expect(others).toEqual([])
      const [weights, given] = [await tensorsOf(model, 'weights'), await tensorsOf(source, 'weights')]
      for (const [name, tensor] of weights) if (isTable(name)) expect(tensor, name).toEqual(expected.get(name))
      expect(weights.get('final_layer.linear.bias') ?? weights.get('blocks.0.attn.qkv.weight')).toEqual(
        given.get('final_layer.linear.bias') ?? given.get('blocks.0.attn.qkv.weight'),
      )
    }
  })

  test.each<[saved: Change, own: Change, sentence: string]>([
    [{}, ROTARY, 'feat_rope.freqs_cos [4,16] is missing; feat_rope.freqs_sin [4,16] is missing'],
    [ROTARY, {}, 'feat_rope.freqs_cos is not in the model; feat_rope.freqs_sin is not in the model'],
  ])('a model of %j is none of %j', async (saved, own, sentence) => {
    using source = modelOf(saved, 1)
    using model = modelOf(own, 2)
    for (const write of [runOf, fileOf]) {
      await expect(begin(model, await write(source))).rejects.toThrow(`does not fit the model: ${sentence}.`)
    }
  })

  test("other code's table of the same size is said not to be taken", async () => {
    using source = modelOf({}, 1)
    const entry = source.entries.find(({ name }) => name === 'pos_embed')!
    const own = await source.arena.array('weights').data()
    {
      using view = source.arena.view('weights', entry)
      view.write((await view.data()).map((value, i) => (i === 5 ? value + 0.01 : value)))
    }
    expect(await source.arena.array('weights').data()).not.toEqual(own)
    using model = modelOf({}, 2)
    const told = await begin(model, await fileOf(source))
    expect(told).toEqual(["C has other values of pos_embed than this model's sizes make; the model's own are taken."])
  })
})

describe("what the weights learnt along, and what they are, is the run's where it says nothing else", () => {
  const SIZES = { depth: 1, hidden: 32, heads: 2, patch: 4 } as const
  const SIT = { kind: 'SiT', ...SIZES } as const
  const SAMPLES = { count: 1, steps: 1, guidanceScale: 1 }

  /** Trains for a step; gives what the run is and what is told. */
  async function begun(data: string, settings: TrainingOptions) {
    const out = temporaryFolder()
    const notices: string[] = []
    let begunFrom: string | undefined
    await train({
      data,
      out,
      configuration: { batch: 2, steps: 1, samples: SAMPLES, ...settings },
      device: 'cpu',
      onNotice: (sentence) => {
        if (!/preview of the latents/.test(sentence)) notices.push(sentence)
      },
      onStart: (run) => {
        begunFrom = run.begunFrom
      },
    })
    const { training } = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))
    return { out, training, notices, begunFrom }
  }

  /** The same weights as a run, as a training checkpoint in a torch file, and as a file of weights. */
  async function formsOf(run: string): Promise<readonly string[]> {
    const files = ['all.pt', 'ema.safetensors'].map((name) => join(temporaryFolder(), name))
    for (const file of files) await convert(join(run, 'checkpoints', '0000001'), file)
    return [run, ...files]
  }

  test.each(['cosine', 'linear'] as const)('weights of the path %s', async (path) => {
    const other = path === 'cosine' ? 'linear' : 'cosine'
    const data = await tinyDataset(4)
    const { out, begunFrom } = await begun(data, { model: SIT, path })
    expect(begunFrom).toBeUndefined()
    for (const init of await formsOf(out)) {
      const own = await begun(data, { init })
      expect(own.training).toMatchObject({ model: SIT, path })
      expect(own.begunFrom).toBe(init === out ? `${join(out, 'checkpoints', '0000001')} (ema, step 1)` : init)
      for (const said of [{ path }, { model: SIT }]) {
        const same = await begun(data, { init, ...said })
        expect(same.training).toMatchObject({ model: SIT, path })
        expect(same.notices).toEqual([])
      }
      const changed = await begun(data, { init, path: other })
      expect(changed.training.path).toBe(other)
      expect(changed.notices).toEqual([
        `${init} is of a SiT that learnt along the path ${path}, this run's learns along ${other}; leave out \`path\`, ` +
          "and the path is the weights' own.",
      ])
    }
  })

  test('a DiT has no path, and bare tensors tell none', async () => {
    const data = await tinyDataset(4)
    const { out } = await begun(data, { model: { kind: 'DiT', ...SIZES } })
    for (const init of await formsOf(out)) {
      const { training, notices } = await begun(data, { init })
      expect([training.model.kind, training.path, notices]).toEqual(['DiT', 'linear', []])
    }
    // What is wrong is not a path that nobody named.
    const { out: cosine } = await begun(data, { model: SIT, path: 'cosine' })
    for (const wrong of await formsOf(cosine)) {
      await expect(begun(data, { init: wrong, model: { ...SIT, kind: 'DiT' } })).rejects.toThrow(
        /is of a SiT, this run's model is a DiT/,
      )
    }
    using source = modelOf({ inputSize: [8, 8], classes: 9 }, 1)
    const init = await fileOf(source)
    const { notices, training } = await begun(data, { init, model: { ...SIT, depth: 2, patch: 2 }, path: 'cosine' })
    expect([training.path, notices]).toEqual(['cosine', []])
  })

  test.each<readonly [Change, RegExp]>([
    [{}, / does not tell how many attention heads it has: .*; `model` sets it\.$/],
    [LIGHTNINGDIT, / is taken for a LightningDiT, .*; `model` can say otherwise\.$/],
  ])('what bare tensors of %j leave to a guess is for the model setting to tell', async (change, sentence) => {
    using source = modelOf(change, 1)
    const notices: string[] = []
    await settingsOfWeights(await fileOf(source), {}, (told) => notices.push(told))
    expect(notices).toEqual([expect.stringMatching(sentence)])
  })
})

describe('a file is held to what it tells', () => {
  test.each<readonly [args: Readonly<Record<string, string | number>>, saved: Change, own: Change, message: string]>([
    [{ num_heads: 4 }, { heads: 4 }, {}, "of a model with heads 4, this run's has 2"],
    [{ model: 'DiT-XL/2' }, PLAIN_DIT, {}, "of a DiT, this run's model is a SiT"],
    [
      { model: 'SiT-XL/2' },
      {},
      { convention: 'sit' },
      "of a SiT whose time runs by the convention repa, this run's by sit",
    ],
  ])('by its script, of the arguments %j', async (args, saved, own, message) => {
    using source = modelOf(saved, 1)
    using model = modelOf(own, 2)
    await expect(begin(model, await fileOf(source, args))).rejects.toThrow(`C is ${message}${ADVICE}`)
  })

  test.each([
    ['read', DIT, ORIGINAL, "of a DiT, this run's model is a SiT"],
    ['not read', ORIGINAL, DIT, "of a SiT, this run's model is a DiT"],
    ['not read', ORIGINAL, { learnSigma: true }, "of a SiT whose time runs by the convention sit, this run's by repa"],
  ])('by the second half of its output, which is %s', async (_, saved, own, message) => {
    using source = modelOf(saved, 1)
    if (saved === ORIGINAL) await leaveHalf(source)
    using model = modelOf(own, 2)
    await expect(begin(model, await fileOf(source))).rejects.toThrow(`C is ${message}${ADVICE}`)
  })

  test.each<readonly [Change, readonly string[]]>([
    [{ heads: 1 }, []],
    [{ heads: 4 }, []],
    [
      { heads: 1, convention: 'sit' },
      ['convention: sit is taken, as the model setting says; without it repa would be'],
    ],
    [{ heads: 1, ...PLAIN_DIT }, ['kind: DiT is taken, as the model setting says; without it SiT would be']],
    [
      { ...LIGHTNINGDIT, convention: 'repa' },
      ['convention: repa is taken, as the model setting says; without it sit would be'],
    ],
    [{ ...LIGHTNINGDIT, convention: 'sit' }, []],
  ])('what would be a guess is as the model setting of %j says, in a sentence', async (change, told) => {
    using source = modelOf(change, 1)
    using model = modelOf(change, 2)
    expect(await begin(model, await fileOf(source))).toEqual(told.map((what) => `C does not tell its model's ${what}.`))
    expect(await tensorsOf(model, 'weights')).toEqual(await tensorsOf(source, 'weights'))
  })
})

test('what else does not fit is listed, tensor by tensor', async () => {
  using source = modelOf({ qkNorm: true }, 1)
  using model = modelOf({}, 2)
  for (const write of [runOf, fileOf]) {
    await expect(begin(model, await write(source))).rejects.toThrow('blocks.0.attn.q_norm.weight is not in the model')
  }
})

test('a run that goes on has its own weights, and needs those no more that it began from', async () => {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder, name)
  const data = await tinyDataset(4)
  const begunFrom: (string | undefined)[] = []
  const run = (out: string, steps: number, configuration: TrainingOptions, resume = false) =>
    train({
      data,
      out: at(out),
      resume,
      device: 'cpu',
      configuration: { steps, ...configuration },
      onStart: (started) => begunFrom.push(started.begunFrom),
    })
  const settings: TrainingOptions = {
    model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
    batch: 2,
    samples: { count: 1, steps: 1, guidanceScale: 1 },
  }
  await run('first', 1, settings)
  await run('unbroken', 2, { ...settings, init: at('first') })
  await run('resumed', 1, { ...settings, init: at('first') })
  rmSync(at('first'), { recursive: true })
  await run('resumed', 2, {}, true)
  expect(begunFrom.map((from) => from !== undefined)).toEqual([false, true, true, false])
  const weightsOf = (out: string) => readFileSync(at(`${out}/checkpoints/0000002/model.safetensors`))
  expect(weightsOf('resumed').equals(weightsOf('unbroken'))).toBe(true)
})
