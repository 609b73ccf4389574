import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { adoptCheckpoint } from '../../src/conversion/adopt.ts'
import { convert } from '../../src/conversion/convert.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { TorchCheckpoint } from '../../src/formats/torch-checkpoint.ts'
import { type WritableTorchValue, writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { TorchTensor } from '../../src/formats/torch-tensor.ts'
import { ZipFile } from '../../src/formats/zip-reader.ts'
import { ZipWriter } from '../../src/formats/zip-writer.ts'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import {
  referenceCheckpoint,
  stateOf,
  tensor,
  tinyLightningDiTModel,
  tinyModel,
  tinyRegModel,
  tinyState,
  tinyTextModel,
} from './tiny-checkpoint.ts'

async function safetensors(path: string): Promise<Map<string, HostTensor>> {
  await using file = await SafetensorsFile.open(path)
  return await file.readAll()
}

/** The values of a torch file with its tensors read. */
async function torchValue(path: string): Promise<unknown> {
  await using file = await TorchCheckpoint.open(path)
  const read = async (value: unknown): Promise<unknown> => {
    if (value instanceof TorchTensor) return file.read(value)
    if (Array.isArray(value)) return Promise.all(value.map(read))
    if (!(value instanceof Map)) return value
    const entries: [unknown, unknown][] = []
    for (const [key, item] of value) entries.push([key, await read(item)])
    return new Map(entries)
  }
  return await read(file.value)
}

async function written(name: string, value: WritableTorchValue): Promise<{ folder: string; path: string }> {
  const folder = temporaryFolder()
  const path = join(folder, name)
  await writeTorchCheckpoint(path, value)
  return { folder, path }
}

describe('bare state dicts', () => {
  const dtypes = new Map<string, HostTensor>([
    ['b.weight', { dtype: 'bf16', shape: [2, 3], data: Uint8Array.from({ length: 12 }, (_, i) => i) }],
    ['a', { dtype: 'i64', shape: [], data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }],
    ['größe', { dtype: 'f16', shape: [0, 4], data: new Uint8Array(0) }],
    ['f', tensor([5], 3)],
  ])

  test.each(['.pt', '.pth', '.th', '.ckpt'])(
    '%s to .safetensors and back keeps names, order, dtypes and bits',
    async (extension) => {
      const { folder, path } = await written(`weights${extension}`, dtypes)
      const middle = join(folder, 'weights.safetensors')
      expect(await convert(path, middle)).toEqual({ output: middle, kind: 'tensors', tensors: 4, notes: [] })
      expect([...(await safetensors(middle))]).toEqual([...dtypes])
      const back = join(folder, `back${extension}`)
      await convert(middle, back)
      expect([...((await torchValue(back)) as Map<string, HostTensor>)]).toEqual([...dtypes])
    },
  )

  test.each(['b.safetensors', 'b.pt', 'run/0000007'])(
    'an interrupted conversion to %s leaves nothing',
    async (name) => {
      const { folder, path } = await written('a.pt', referenceCheckpoint())
      const signal = AbortSignal.abort(new Error('stopped'))
      await expect(convert(path, join(folder, name), { signal })).rejects.toBe(signal.reason)
      expect((await readdir(folder, { recursive: true })).filter((entry) => entry !== 'run')).toEqual(['a.pt'])
    },
  )

  test('the one state dict of a nested file is found', async () => {
    const { folder, path } = await written('mae.pth', { epoch: 3, state: { model: dtypes }, args: { lr: 0.5 } })
    const out = join(folder, 'mae.safetensors')
    await convert(path, out)
    expect((await safetensors(out)).size).toBe(4)
  })

  test('of a file with objects of a class that inert names, the tensors', async () => {
    const { folder, path } = await written('plain.ckpt', { callback: 'PLACE', state_dict: dtypes })
    const [lightning, out] = [join(folder, 'lightning.ckpt'), join(folder, 'out.safetensors')]
    // As Lightning writes it: an object of its own where the text stood.
    const zip = await ZipWriter.create(lightning)
    await using source = await ZipFile.open(path)
    for (const name of source.entries.keys()) {
      const text = Buffer.from(await source.read(name)).toString('latin1')
      await zip.add(
        name,
        Buffer.from(text.replace('X\x05\0\0\0PLACE', 'clightning.callbacks\nModelCheckpoint\n)R'), 'latin1'),
      )
    }
    await zip.close()
    await expect(convert(lightning, out)).rejects.toThrow(
      /names "lightning.callbacks.ModelCheckpoint", which is not among .* by `inert` where it is converted, by `inertGlobals` where a program opens it\./,
    )
    await convert(lightning, out, { inert: ['lightning.callbacks.ModelCheckpoint'] })
    expect([...(await safetensors(out))]).toEqual([...dtypes])
    await expect(convert(out, join(folder, 'x.pt'), { inert: ['a.B'] })).rejects.toThrow(
      `\`inert\` names classes in a torch file; ${out} is none.`,
    )
  })

  test('metadata, such as an encoder states itself by, is kept, or said to be left out', async () => {
    const folder = temporaryFolder()
    const [path, copy, torch] = ['a.safetensors', 'b.safetensors', 'c.pt'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    const entries = [{ name: 'x', ...tensor([2], 4) }]
    await writeSafetensors(path, entries, { metadata: { config: '{"heads":3}' }, checksum: true })
    expect(await convert(path, copy)).toMatchObject({ notes: [] })
    expect(await readFile(copy)).toEqual(await readFile(path))
    expect(await convert(path, torch)).toMatchObject({
      notes: [`The metadata of ${path} (config) is left out: ${torch} has no place for it.`],
    })
  })

  test('of several, key names one; an optimizer is none', async () => {
    const optimizer = { state: new Map([[0, { exp_avg: tensor([2], 1) }]]), param_groups: [] }
    const { folder, path } = await written('several.pt', {
      student: { model: dtypes },
      teacher: { x: tensor([2], 4) },
      optimizer,
    })
    const out = join(folder, 'out.safetensors')
    await expect(convert(path, out)).rejects.toThrow(
      'several.pt: it holds 2 state dicts: student/model, teacher; choose one by `key` student/model.',
    )
    await convert(path, out, { key: 'student/model' })
    expect((await safetensors(out)).size).toBe(4)
    await convert(path, out, { key: 'teacher', force: true })
    expect([...(await safetensors(out)).keys()]).toEqual(['x'])
  })

  test('a SiT becomes a checkpoint folder of step 0', async () => {
    const weights = new Map(transformerEntries(tinyModel).map(({ name, shape }, i) => [name, tensor(shape, i)]))
    const { folder, path } = await written('sit.pt', weights)
    const out = join(folder, 'run', 'checkpoints', '0000000')
    const { notes } = await convert(path, out, { heads: 2, alignDepth: 1 })
    expect(notes).toEqual([
      'The label table of 11 rows is taken for 10 classes and the null class.',
      'There is no optimizer state in it: the checkpoint is of step 0, its EMA equal to the weights.',
    ])
    expect(await readCheckpointState(out)).toMatchObject({ step: 0, updates: 0, model: tinyModel })
    for (const file of ['model', 'ema']) {
      expect([...(await safetensors(join(out, `${file}.safetensors`)))]).toEqual([...weights])
    }
    const moments = await safetensors(join(out, 'optimizer.safetensors'))
    expect(moments.size).toBe(2 * (weights.size - 1))
    expect([...moments.values()].every(({ data }) => data.every((byte) => byte === 0))).toBe(true)
  })
})

describe('training checkpoints', () => {
  test.each([
    ["REPA's", tinyModel],
    ["REG's", tinyRegModel],
    ["LightningDiT's", tinyLightningDiTModel],
    ["train_t2i.py's", tinyTextModel],
  ])('become a folder and, from it, what they were: %s', async (_, model) => {
    const reference = referenceCheckpoint(model)
    const { folder, path } = await written('0000007.pt', reference)
    const run = join(folder, '0000007')
    await convert(path, run, { heads: 2 })
    expect(await readCheckpointState(run)).toEqual(stateOf(model))
    expect((await readdir(run)).sort()).toEqual([
      'ema.safetensors',
      'model.safetensors',
      'optimizer.safetensors',
      'state.json',
    ])
    const back = join(folder, 'back.pt')
    const entries = transformerEntries(model)
    const { tensors, kind } = await convert(run, back)
    expect({ tensors, kind }).toEqual({
      tensors: 4 * entries.length - 2 * entries.filter(({ parameter }) => !parameter.trainable).length,
      kind: 'training checkpoint',
    })
    const [before, after] = [await torchValue(path), await torchValue(back)] as Map<string, unknown>[]
    for (const part of ['model', 'ema', 'opt', 'steps']) expect(after.get(part)).toEqual(before.get(part))
    const again = join(folder, 'again')
    await convert(back, again, { heads: 2 })
    expect(await readCheckpointState(again)).toEqual(stateOf(model))
    const twice = join(folder, 'twice.pt')
    await convert(again, twice)
    expect((await readFile(twice)).equals(await readFile(back))).toBe(true)
  })

  test.each([
    ['a folder, the EMA by default', 'folder', undefined, 'ema'],
    ['a folder, the model', 'folder', 'model', 'weights'],
    ['a torch file, the EMA by default', 'torch', undefined, 'ema'],
    ['a torch file, the model', 'torch', 'model', 'weights'],
  ] as const)('one set of weights from %s', async (_, form, weights, role) => {
    const reference = referenceCheckpoint()
    const { folder, path } = await written('0000007.pt', reference)
    const input = form === 'torch' ? path : join(folder, 'folder')
    if (form === 'folder') await convert(path, input, { heads: 2 })
    const expected = role === 'ema' ? reference.ema : reference.model
    const out = join(folder, 'weights.safetensors')
    await convert(input, out, { weights })
    expect([...(await safetensors(out))]).toEqual([...expected])
    const bare = join(folder, 'weights.pt')
    await convert(input, bare, { weights: weights ?? 'ema' })
    expect(await torchValue(bare)).toEqual(expected)
  })

  test("weights of another model's training checkpoint are taken as they are", async () => {
    const { folder, path } = await written('dit.pt', {
      model: { 'blocks.0.x': tensor([2], 1) },
      ema: { 'blocks.0.x': tensor([2], 2) },
      opt: { state: new Map(), param_groups: [] },
    })
    const out = join(folder, 'dit.safetensors')
    await convert(path, out)
    expect([...(await safetensors(out)).values()]).toEqual([tensor([2], 2)])
    await expect(convert(path, join(folder, 'dit'))).rejects.toThrow(
      'dit.pt is not the state dict of a SiT or a DiT: it has no tensor pos_embed.',
    )
  })

  const TWICE = ["The reference's training dropped labels twice, by --cfg-prob 0.1 and by 0.1 (--legacy)"]
  const DROPOUTS: readonly { args: Record<string, boolean | number>; classDropout: number; said: readonly string[] }[] =
    [
      { args: { legacy: true, cfg_prob: 0.1 }, classDropout: 0.19, said: TWICE },
      { args: { legacy: true }, classDropout: 0.19, said: TWICE },
      { args: { legacy: false, cfg_prob: 0.5 }, classDropout: 0.1, said: [] },
      { args: { cfg_prob: 0.5 }, classDropout: 0.1, said: [] },
      { args: { cfg_prob: 0.1, class_dropout_prob: 0.25 }, classDropout: 0.25, said: [] },
    ]
  test.each(DROPOUTS)(
    "labels are dropped as the reference's training did, $args",
    async ({ args, classDropout, said }) => {
      const reference = referenceCheckpoint()
      const { folder, path } = await written('0000007.pt', { ...reference, args: { ...reference.args, ...args } })
      const [run, back, again] = ['run', 'back.pt', 'again'].map((name) => join(folder, name)) as [
        string,
        string,
        string,
      ]
      const { notes } = await convert(path, run, { heads: 2 })
      expect(notes).toEqual(said.map((what) => `${what}: the configuration says ${classDropout}.`))
      // And of a run made here.
      await convert(run, back)
      await convert(back, again, { heads: 2 })
      for (const checkpoint of [run, again]) {
        const { model, configuration } = await readCheckpointState(checkpoint)
        expect(model.classDropout).toBe(classDropout)
        expect(configuration).toMatchObject({ training: { classDropout } })
      }
    },
  )

  test('passes that the reference accumulated are passes of one batch', async () => {
    const reference = referenceCheckpoint()
    const args = { ...reference.args, batch_size: 32, gradient_accumulation_steps: 4 }
    const { folder, path } = await written('0000007.pt', { ...reference, args })
    const [run, back] = ['run', 'back.pt'].map((name) => join(folder, name)) as [string, string]
    await convert(path, run, { heads: 2 })
    expect((await readCheckpointState(run)).configuration).toMatchObject({ training: { batch: 128, accumulate: 4 } })
    await convert(run, back)
    const said = ((await torchValue(back)) as Map<string, Map<string, unknown>>).get('args')!
    expect(said.get('batch_size')).toBe(32)
    expect(said.get('gradient_accumulation_steps')).toBe(4)
  })

  test("without REG's setting, the weight of its class token's loss is assumed, and said", async () => {
    const { args, ...rest } = referenceCheckpoint(tinyRegModel)
    const { cls: _, ...others } = args
    const { folder, path } = await written('reg.pt', { ...rest, args: others })
    const { notes } = await convert(path, join(folder, 'reg'), { heads: 2 })
    expect(notes).toEqual([
      "The file does not tell the weight of the class token's loss: 0.03 assumed; `classTokenWeight` sets it.",
    ])
  })

  test('without its settings, what is assumed is said', async () => {
    const { args: _, ...rest } = referenceCheckpoint()
    const { folder, path } = await written('bare.pt', rest)
    const { notes } = await convert(path, join(folder, 'bare'))
    expect(notes).toEqual([
      `${path} does not tell how many attention heads it has: 1 assumed, one for every 64 features; \`heads\` sets it.`,
      'The label table of 11 rows is taken for 10 classes and the null class.',
      'The file does not tell the block that is aligned: 2 assumed; `alignDepth` sets it.',
      expect.stringMatching(
        /^The file does not tell the encoders of its projectors \(features of \d+\); name each in `encoders`\.$/,
      ),
    ])
  })
})

describe("other code's names", () => {
  /** A model of three blocks, of which the first is before the alignment. */
  const legacy = (name: string) =>
    name.replace(/^blocks\.(\d+)\./, (whole, index) => (index === '0' ? whole : `decoder_blocks.${index - 1}.`))
  const renamed = <T>(tensors: ReadonlyMap<string, T>, rename: (name: string) => string) =>
    new Map([...tensors].map(([name, value]) => [rename(name), value]))

  test.each<[string, (name: string) => string]>([
    ['of DistributedDataParallel', (name) => `module.${name}`],
    ['of torch.compile, wrapped again', (name) => `module._orig_mod.${name}`],
    ["of REPA's early checkpoints", legacy],
    ['both', (name) => `module.${legacy(name)}`],
  ])('%s: a training checkpoint goes on', async (_, rename) => {
    const reference = referenceCheckpoint()
    const [model, ema] = [renamed(reference.model, rename), renamed(reference.ema, rename)]
    const { folder, path } = await written('0000007.pt', { ...reference, model, ema })
    const out = join(folder, 'checkpoint')
    await convert(path, out, { heads: 2 })
    expect(await readCheckpointState(out)).toEqual(tinyState)
    expect([...(await safetensors(join(out, 'model.safetensors')))]).toEqual([...reference.model])
    expect([...(await safetensors(join(out, 'ema.safetensors')))]).toEqual([...reference.ema])
    // Between files names stay as they are.
    await convert(path, join(folder, 'ema.safetensors'))
    expect([...(await safetensors(join(folder, 'ema.safetensors')))]).toEqual([...ema])
  })

  test("the optimizer's parameters are numbered as the file's own state dict is ordered", async () => {
    const reference = referenceCheckpoint()
    const last = ([a]: [string, unknown], [b]: [string, unknown]) =>
      Number(a.startsWith('x_')) - Number(b.startsWith('x_'))
    const reordered = new Map([...reference.model].sort(last))
    const names = [...reference.model.keys()]
    const moved = [...reordered.keys()].map((name) => names.indexOf(name))
    const state = new Map(
      moved.flatMap((from, to) => {
        const entry = reference.opt.state.get(from)
        return entry ? [[to, entry] as const] : []
      }),
    )
    const { folder, path } = await written('a.pt', {
      ...reference,
      model: reordered,
      opt: { ...reference.opt, state },
    })
    const plain = await written('b.pt', reference)
    await convert(path, join(folder, 'a'), { heads: 2 })
    await convert(plain.path, join(folder, 'b'), { heads: 2 })
    const [a, b] = await Promise.all(['a', 'b'].map((name) => safetensors(join(folder, name, 'optimizer.safetensors'))))
    expect([...a!]).toEqual([...b!])
  })
})

describe('adoptCheckpoint', () => {
  test('makes a run of a training checkpoint, and of nothing less', async () => {
    const { folder, path } = await written('0000007.pt', referenceCheckpoint())
    const run = join(folder, 'run')
    const adopted = { checkpoint: join(run, 'checkpoints/0000007'), step: 7, notes: [] }
    expect(await adoptCheckpoint(path, run, { heads: 2 })).toMatchObject(adopted)
    expect(await readCheckpointState(join(run, 'checkpoints/0000007'))).toEqual(tinyState)
    await expect(adoptCheckpoint(path, run)).rejects.toThrow('holds checkpoints already; go on from the newest')
    const bare = await written('bare.pt', referenceCheckpoint().model)
    await expect(adoptCheckpoint(bare.path, join(folder, 'other'))).rejects.toThrow(
      'bare.pt holds weights and no optimizer state to go on with; begin a run from them by `init`.',
    )
  })
})

describe('bad input', () => {
  const reference = referenceCheckpoint()
  test.each<[string, WritableTorchValue, string]>([
    ['no tensors at all', { epoch: 3 }, 'is no state dict'],
    [
      'an optimizer of another kind',
      { ...reference, opt: { state: new Map() } },
      '["opt"] is no state of torch.optim.AdamW: it wants "state" and "param_groups".',
    ],
    [
      'an optimizer of another model',
      {
        ...reference,
        opt: { ...reference.opt, param_groups: [{ ...reference.opt.param_groups[0]!, params: [0, 1] }] },
      },
      '["opt"] has 2 parameters, the model has',
    ],
    [
      'an optimizer without one parameter',
      { ...reference, opt: { ...reference.opt, state: new Map([...reference.opt.state].slice(1)) } },
      '["opt"] has no exp_avg for parameter 1 (x_embedder.proj.weight).',
    ],
    [
      'classes of another model',
      { ...reference, args: { num_classes: 5 } },
      'the set of weights does not fit the model',
    ],
    ['an EMA of another model', { ...reference, ema: { pos_embed: tensor([1], 1) } }, 'the EMA does not fit the model'],
    ['settings that are none', { ...reference, args: { path_type: 'curved' } }, 'path_type is "curved"'],
  ])('%s', async (_, value, message) => {
    const { folder, path } = await written('bad.pt', value)
    await expect(convert(path, join(folder, 'out'))).rejects.toThrow(message)
    expect(await readdir(folder)).toEqual(['bad.pt'])
  })

  test.each<[string, string, string]>([
    ['weights.bin', 'out.pt', '.bin is none of them; expected .pt, .pth, .th, .ckpt, .safetensors'],
    ['weights.pt', 'out.onnx', '.onnx is none of them'],
    ['weights.pt', 'out.safetensors', 'this is no file of torch.save'],
    ['weights.safetensors', 'out.pt', 'too few for a safetensors file'],
    ['empty', 'out.pt', 'is not a checkpoint'],
    ['missing.pt', 'out.pt', 'no such file'],
  ])('%s to %s', async (input, output, message) => {
    const folder = temporaryFolder()
    for (const name of ['weights.bin', 'weights.pt', 'weights.safetensors']) await writeFile(join(folder, name), 'xyz')
    await mkdir(join(folder, 'empty'))
    const before = (await readdir(folder)).sort()
    await expect(convert(join(folder, input), join(folder, output))).rejects.toThrow(message)
    expect((await readdir(folder)).sort()).toEqual(before)
  })

  test('a run is no checkpoint, and its newest one is named', async () => {
    const folder = temporaryFolder()
    const [run, out] = [join(folder, 'run'), join(folder, 'out.pt')]
    await mkdir(join(run, 'checkpoints'), { recursive: true })
    await expect(convert(run, out)).rejects.toThrow(`${run} is not a checkpoint: it has no state.json.`)
    for (const step of ['0000100', '0000200']) await mkdir(join(run, 'checkpoints', step))
    const newest = join(run, 'checkpoints', '0000200')
    await expect(convert(run, out)).rejects.toThrow(
      `${run} is not a checkpoint: it has no state.json; give one of the run there, such as ${newest}.`,
    )
  })

  test('what exists is replaced only by force, and a folder only where it is a checkpoint', async () => {
    const { folder, path } = await written('w.pt', referenceCheckpoint())
    const out = join(folder, 'run')
    await convert(path, out)
    await expect(convert(path, out)).rejects.toThrow('run exists already; `force` replaces it')
    await convert(path, out, { force: true })
    await writeFile(join(out, 'thesis.tex'), 'x')
    await expect(convert(path, out, { force: true })).rejects.toThrow(
      'run is a folder with thesis.tex in it, so it is no checkpoint and is not replaced.',
    )
    await expect(convert(path, path, { weights: 'ema' })).rejects.toThrow('w.pt exists already')
  })

  test('a choice that does not exist', async () => {
    const { folder, path } = await written('w.pt', { a: tensor([2], 1) })
    await expect(convert(path, join(folder, 'o.pt'), { weights: 'ema' })).rejects.toThrow('holds one set of weights')
    await expect(convert(path, join(folder, 'o.pt'), { key: 'ema' })).rejects.toThrow('has no "ema"')
    const file = join(folder, 'w.safetensors')
    await writeSafetensors(file, [{ name: 'a', ...tensor([2], 1) }])
    await expect(convert(file, join(folder, 'o.pt'), { key: 'ema' })).rejects.toThrow('`key` chooses among')
  })
})

describe.skipIf(!haveGolden)(`the reference's own checkpoint${goldenSuffix}`, () => {
  const golden = join(goldenFolder, 'pt/repa-ckpt.pt')

  test('every tensor of it arrives in the folder, bit for bit', async () => {
    const folder = temporaryFolder()
    const out = join(folder, '0000003')
    await convert(golden, out, { heads: 2, alignDepth: 1 })
    const state = await readCheckpointState(out)
    expect(state).toMatchObject({ step: 3, updates: 3, skipped: 0, seed: 0 })
    expect(state.model).toMatchObject({ depth: 2, hidden: 16, heads: 2, patch: 2, inputSize: [8, 8], classes: 10 })
    const order = transformerEntries(state.model).map(({ name }) => name)
    const expected = await safetensors(join(goldenFolder, 'pt/repa-ckpt.expected.safetensors'))
    const actual = new Map<string, HostTensor>()
    for (const part of ['model', 'ema'] as const) {
      for (const [name, value] of await safetensors(join(out, `${part}.safetensors`)))
        actual.set(`${part}.${name}`, value)
    }
    for (const [name, value] of await safetensors(join(out, 'optimizer.safetensors'))) {
      const [moment] = name.split('.', 1) as [string]
      actual.set(`opt.state.${order.indexOf(name.slice(moment.length + 1))}.${moment}`, value)
    }
    const comparable = [...expected.keys()].filter((name) => !name.endsWith('.step'))
    expect([...actual.keys()].sort()).toEqual(comparable.sort())
    for (const name of comparable) expect(actual.get(name), name).toEqual(expected.get(name))
  })

  test('and comes back as it was', async () => {
    const folder = temporaryFolder()
    await convert(golden, join(folder, 'run'))
    await convert(join(folder, 'run'), join(folder, 'back.pt'))
    const [before, after] = [await torchValue(golden), await torchValue(join(folder, 'back.pt'))] as Map<
      string,
      unknown
    >[]
    for (const part of ['model', 'ema', 'opt', 'steps']) expect(after.get(part)).toEqual(before.get(part))
  })
})
