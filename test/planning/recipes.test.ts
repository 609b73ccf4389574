import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'
import { flagOf } from '../../src/cli/option.ts'
import { captionsJsonLines } from '../../src/data/captions-json.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { autoencoderOfName, latentsOf } from '../../src/models/autoencoder-architecture.ts'
import { transformerOfPreset } from '../../src/models/transformer-kinds.ts'
import { planTraining } from '../../src/planning/plan.ts'
import { type Recipe, readRecipe, recipeNames } from '../../src/planning/recipe.ts'
import { recipeCommands } from '../../src/planning/recipe-commands.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import type { TrainingOptions } from '../../src/training/configuration.ts'
import { train } from '../../src/training/run.ts'
import type { TrainingStep } from '../../src/training/trainer-options.ts'
import { tinyEncoder } from '../alignment/tiny-encoder.ts'
import { writeNarrowTaesd } from '../end-to-end/narrow-taesd.ts'
import { writeNpy } from '../formats/write-npy.ts'
import { haveImages, imagesFolder, imagesSuffix } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeClipFolder } from '../text/clip-folder.ts'

const recipes = await Promise.all((await recipeNames()).map(readRecipe))
const papers = recipes.filter(({ name }) => name !== 'own-images')

/** Recipes of other papers' own. */
const OTHERS = ['ditdh-xl-rae', 'lightningdit-xl-1', 'sit-xl-2-haste', 'sit-xl-2-irepa', 'sit-xl-2-irepa-dinov3']

/** Of models of text, in the paper's later version: the ODE in 50 steps, and the SDE in 250. */
const TEXT_TO_IMAGE = 'mmdit-d24-2-coco'

/** At 512 pixels, in the paper's later version. */
const AT_512 = 'sit-xl-2-repa-512'

/** The rows of the paper's Table 3 and of its guidance tables, and of REG's: model, whether aligned, steps, how sampled, FID. */
const ROWS: readonly [name: string, model: string, repa: boolean, step: number, sampling: string, fid: number][] = [
  ['dit-l-2', 'DiT-L/2', false, 400_000, 'ddpm', 23.3],
  ['dit-l-2-repa', 'DiT-L/2', true, 400_000, 'ddpm', 15.6],
  ['dit-xl-2', 'DiT-XL/2', false, 400_000, 'ddpm', 19.5],
  ['dit-xl-2-repa', 'DiT-XL/2', true, 400_000, 'ddpm', 12.3],
  ['dit-xl-2-7m', 'DiT-XL/2', false, 7_000_000, 'ddpm', 9.6],
  ['dit-xl-2-repa-850k', 'DiT-XL/2', true, 850_000, 'ddpm', 9.6],
  ['sit-b-2', 'SiT-B/2', false, 400_000, 'sde', 33.0],
  ['sit-b-2-repa', 'SiT-B/2', true, 400_000, 'sde', 24.4],
  ['sit-l-2', 'SiT-L/2', false, 400_000, 'sde', 18.8],
  ['sit-l-2-repa', 'SiT-L/2', true, 400_000, 'sde', 9.7],
  ['sit-l-2-repa-700k', 'SiT-L/2', true, 700_000, 'sde', 8.4],
  ['sit-xl-2', 'SiT-XL/2', false, 400_000, 'sde', 17.2],
  ['sit-xl-2-7m', 'SiT-XL/2', false, 7_000_000, 'sde', 8.3],
  ['sit-xl-2-repa', 'SiT-XL/2', true, 400_000, 'sde', 7.9],
  ['sit-xl-2-repa-1m', 'SiT-XL/2', true, 1_000_000, 'sde', 6.4],
  ['sit-xl-2-repa-4m', 'SiT-XL/2', true, 4_000_000, 'sde', 5.9],
  ['sit-xl-2-7m-guided', 'SiT-XL/2', false, 7_000_000, 'sde 1.5 to 1', 2.06],
  ['sit-xl-2-repa-1m-guided', 'SiT-XL/2', true, 1_000_000, 'sde 1.35 to 1', 1.96],
  ['sit-xl-2-repa-4m-guided', 'SiT-XL/2', true, 4_000_000, 'sde 1.35 to 1', 1.8],
  ['sit-b-2-reg', 'SiT-B/2', true, 400_000, 'sde', 15.2],
  ['sit-xl-2-reg', 'SiT-XL/2', true, 400_000, 'sde', 3.4],
  ['sit-xl-2-repa-4m-interval', 'SiT-XL/2', true, 4_000_000, 'sde 1.8 to 0.7', 1.42],
]

const described = ({ mode, cfgScale, interval }: Recipe['evaluations'][number]['sampling']) =>
  cfgScale === 1 ? mode : `${mode} ${cfgScale} to ${interval[1]}`

test('there is a recipe for every row of the tables, and one for own images', () => {
  expect(recipes.map(({ name }) => name).sort()).toEqual(
    [...ROWS.map(([name]) => name), ...OTHERS, TEXT_TO_IMAGE, AT_512, 'own-images'].sort(),
  )
})

test.each(ROWS)('%s is the row', (name, model, repa, step, sampling, fid) => {
  const { training, evaluations } = recipes.find((recipe) => recipe.name === name)!
  const rows = evaluations.map((row) => [row.step, described(row.sampling), row.published?.fid])
  expect(rows).toContainEqual([step, sampling, fid])
  expect(training).toMatchObject({
    model,
    steps: step,
    batch: 256,
    learningRate: 1e-4,
    betas: [0.9, 0.999],
    weightDecay: 0,
    emaDecay: 0.9999,
    path: 'linear',
    weighting: 'uniform',
    classDropout: 0.1,
    encoders: repa ? [{ name: 'dinov2-vit-b' }] : [],
    ...(repa && { alignDepth: model.includes('-B/') ? 4 : 8, alignWeight: 0.5 }),
    classTokenWeight: name.endsWith('-reg') ? 0.03 : 0,
  })
})

test.each([
  ['sit-xl-2-irepa', 'dinov2-vit-b', 16.96, 7.52],
  ['sit-xl-2-irepa-dinov3', 'dinov3-vit-b16', 16.3, 7.13],
])("%s is iREPA's row", (name, encoder, at100K, at400K) => {
  const { training, evaluations } = recipes.find((recipe) => recipe.name === name)!
  expect(evaluations.map((row) => [row.step, described(row.sampling), row.published?.fid])).toEqual([
    [100_000, 'sde', at100K],
    [400_000, 'sde', at400K],
  ])
  expect(training).toMatchObject({
    model: 'SiT-XL/2',
    steps: 400_000,
    batch: 256,
    encoders: [{ name: encoder }],
    alignDepth: 8,
    alignWeight: 1,
    projector: 'conv',
    alignSpatialNorm: 0.6,
  })
})

test("sit-xl-2-haste is HASTE's row", () => {
  const { training, evaluations } = recipes.find(({ name }) => name === 'sit-xl-2-haste')!
  expect(evaluations.map((row) => [row.step, described(row.sampling), row.published?.fid])).toEqual([
    [500_000, 'sde', 5.3],
  ])
  expect(training).toMatchObject({
    model: 'SiT-XL/2',
    steps: 500_000,
    batch: 256,
    encoders: [{ name: 'dinov2-vit-b' }],
    projector: 'mlp',
    alignDepth: 8,
    alignWeight: 0.5,
    alignAttentionWeight: 0.5,
    alignUntil: 250_000,
    alignDecay: 'none',
  })
})

test(`${TEXT_TO_IMAGE} is the row of text to image`, () => {
  const { training, data, reference, evaluations } = recipes.find(({ name }) => name === TEXT_TO_IMAGE)!
  expect(
    evaluations.map(({ step, sampling, published }) => [step, described(sampling), sampling.steps, published]),
  ).toEqual([
    [150_000, 'ode 2 to 1', 50, { fid: 4.73 }],
    [150_000, 'sde 2 to 1', 250, { fid: 4.14 }],
  ])
  expect(training).toMatchObject({
    model: 'MMDiT-d24/2',
    steps: 150_000,
    batch: 256,
    learningRate: 1e-4,
    betas: [0.9, 0.999],
    weightDecay: 0,
    maxGradNorm: 1,
    emaDecay: 0.9999,
    path: 'linear',
    weighting: 'uniform',
    classDropout: 0.1,
    encoders: [{ name: 'dinov2-vit-b' }],
    alignDepth: 8,
    alignWeight: 0.5,
    captionEncoder: { file: 'weights/clip-vit-large-patch14' },
  })
  // What is sampled by its captions is what samples are compared with.
  expect(data.heldOut!.folder).toBe(reference)
  const commands = recipeCommands(recipes.find(({ name }) => name === TEXT_TO_IMAGE)!)
  expect(commands.prepare).toContain(' --captions coco/annotations/captions_train2014.json --autoencoder ')
  expect(commands.prepareHeldOut).toBe(
    'repa prepare coco/val2014 --out data/coco256-val --size 256 --captions coco/annotations/captions_val2014.json',
  )
  for (const { sample, evaluate } of commands.evaluations) {
    expect(sample).toContain(' --prompts data/coco256-val ')
    expect(evaluate).toContain(' --reference data/coco256-val ')
  }
})

test(`${AT_512} has the rows at 512 pixels`, () => {
  const recipe = recipes.find(({ name }) => name === AT_512)!
  const { training, data, reference, evaluations } = recipe
  expect(evaluations.map((row) => [row.step, described(row.sampling), row.published])).toEqual([
    [400_000, 'sde 1.35 to 1', { fid: 2.44 }],
    [500_000, 'sde 1.35 to 1', { fid: 2.32 }],
    [1_000_000, 'sde 1.35 to 1', { fid: 2.08 }],
  ])
  // Published by epochs: 80, 100 and 200.
  const epochs = evaluations.map(({ step }) => Math.round((step * training.batch) / data.images))
  expect(epochs).toEqual([80, 100, 200])
  expect(training).toMatchObject({
    model: 'SiT-XL/2',
    steps: 1_000_000,
    batch: 256,
    learningRate: 1e-4,
    betas: [0.9, 0.999],
    weightDecay: 0,
    maxGradNorm: 1,
    emaDecay: 0.9999,
    path: 'linear',
    weighting: 'uniform',
    classDropout: 0.1,
    encoders: [{ name: 'dinov2-vit-b' }],
    alignDepth: 8,
    alignWeight: 0.5,
  })
  expect(data.latents).toEqual([8, 64, 64])
  expect(reference).toBe('VIRTUAL_imagenet512.npz')
  expect(recipeCommands(recipe).prepare).toContain(' --out data/imagenet512 --size 512 ')
})

test("ditdh-xl-rae is RAE's row", () => {
  const { training, data, evaluations } = recipes.find(({ name }) => name === 'ditdh-xl-rae')!
  expect(evaluations.map((row) => [row.step, described(row.sampling), row.published?.fid])).toEqual([
    [1_000_800, 'ode', 1.51],
  ])
  const stepsOfEpoch = Math.floor(data.images / training.batch)
  const { latentChannels, downsampling } = latentsOf(autoencoderOfName(data.autoencoder!))
  const numbers = latentChannels * (data.size / downsampling) ** 2
  expect(training).toMatchObject({
    model: 'DiTDH-XL',
    steps: 800 * stepsOfEpoch,
    batch: 1024,
    learningRate: 2e-4,
    betas: [0.9, 0.95],
    weightDecay: 0,
    maxGradNorm: 1,
    emaDecay: 0.9995,
    weighting: 'uniform',
    encoders: [],
    learningRateDecay: 'linear',
    learningRateDecayFrom: 40 * stepsOfEpoch,
    learningRateFinal: 2e-5,
    learningRateDecayUntil: 800 * stepsOfEpoch,
    timeShift: Math.sqrt(numbers / 4096),
    encodeLatents: true,
  })
  expect(evaluations[0]!.sampling.timeShift).toBeCloseTo(training.timeShift, 4)
})

test.each(recipes)(
  '$name: what its comments and its figures say',
  async ({ name, path, evaluations, training, data }) => {
    expect(await readFile(path, 'utf8')).toContain(`\`repa plan ${name}\``.replace('own-images`', 'own-images'))
    for (const { step, sampling, published, source } of evaluations) {
      expect(step).toBeLessThanOrEqual(training.steps)
      // A checkpoint of that step is kept.
      expect(step === training.steps || step % training.checkpointEvery === 0).toBe(true)
      const isInFewer = name === 'ditdh-xl-rae' || (name === TEXT_TO_IMAGE && sampling.mode === 'ode')
      expect(sampling.steps).toBe(isInFewer ? 50 : 250)
      expect(published === undefined).toBe(source === undefined)
    }
    expect(data.size).toBe(name === AT_512 ? 512 : 256)
  },
)

test.each(recipes)('$name: its commands are ones that there are', async (recipe) => {
  const { prepare, prepareHeldOut, train: training, evaluations } = recipeCommands(recipe)
  // No evaluation replaces another's samples.
  const folders = evaluations.map(({ sample }) => / --out (\S+)/.exec(sample)![1])
  expect(new Set(folders).size).toBe(evaluations.length)
  for (const line of [
    prepare!,
    ...(prepareHeldOut === undefined ? [] : [prepareHeldOut]),
    training,
    ...evaluations.flatMap(({ sample, evaluate }) => [sample, evaluate ?? []]).flat(),
  ]) {
    const words = line.split(' ')
    const entry = COMMANDS.find(({ name }) => line.startsWith(`repa ${name} `))
    const command = await entry!.load()
    const flags = Object.keys(command.options).map(flagOf)
    const used = words.filter((word) => word.startsWith('--'))
    expect(used.filter((flag) => !flags.includes(flag))).toEqual([])
    const required = Object.entries(command.options).filter(([, option]) => option.required)
    expect(required.map(([name]) => flagOf(name)).filter((flag) => !used.includes(flag))).toEqual([])
  }
})

/** Numbers of a model at 256 pixels: the trunk with its embedders, frozen positions included, and the projector to 768 features. */
const COUNTS: Readonly<Record<string, readonly [trunk: number, projector: number]>> = {
  'SiT-B/2': [130_500_112, 7_344_896],
  'SiT-L/2': [458_086_416, 7_869_184],
  'SiT-XL/2': [675_111_184, 8_131_328],
  'DiT-L/2': [458_102_816, 7_869_184],
  'DiT-XL/2': [675_129_632, 8_131_328],
  // Rotary positions included.
  'LightningDiT-XL/1': [675_256_736 + 36_864, 8_131_328],
  'MMDiT-d24/2': [505_267_216, 7_344_896],
  'DiTDH-XL': [838_675_796 + 36_864 + 65_536, 8_131_328],
}

/** From the width of XL to 768 features, of 3 x 3 cells. */
const CONVOLUTION = 9 * 1152 * 768 + 768

/** CLIP-L's text tower: 49408 tokens, 77 places, 12 blocks of width 768 and a last norm. */
const CLIP_TEXT = (49_408 + 77 + 12 * (12 * 768 + 13) + 2) * 768

const ENCODERS: Readonly<Record<string, number>> = { 'dinov2-vit-b': 86_580_480, 'dinov3-vit-b16': 85_668_864 }

/** DINOv2-B with 4 registers, and a decoder as large as ViT-XL; both halves are loaded, for the grids of samples are decoded. */
const AUTOENCODERS: Readonly<Record<string, number>> = { 'rae-dinov2-b': 86_580_480 + 4 * 768 + 415_352_704 }

/** What denoises a class token of 768 numbers: its position, its way in (a layer and a norm) and its way out. */
const classTokenNumbers = (hidden: number) => hidden + (768 * hidden + hidden) + 2 * hidden + (768 * hidden + 768)

describe('on the planning device, at full size', () => {
  test.each(papers)('$name', async ({ name, training, data }) => {
    const before = memoryStats('cpu')
    const plan = await planTraining({ recipe: name })
    expect(memoryStats('cpu')).toEqual(before)
    const [plain, mlp] = COUNTS[training.model as string]!
    const projector = training.projector === 'conv' ? CONVOLUTION : mlp
    const { depth, hidden, ...preset } = transformerOfPreset(training.model as never)
    const ofHead = 'ddtHead' in preset ? preset.ddtHead!.depth : 0
    const morePositions = hidden * (name === AT_512 ? 32 ** 2 - 16 ** 2 : 0)
    const trunk = plain + morePositions + (training.classTokenWeight > 0 ? classTokenNumbers(hidden) : 0)
    const isAligned = training.encoders.length > 0
    expect(plan.parameters.total).toBe(trunk + (isAligned ? projector : 0))
    expect(plan.parameters.trunk + plan.parameters.embedders).toBe(trunk)
    expect(plan.parameters.projectors).toBe(isAligned ? projector : 0)
    const ofEncoder = Object.fromEntries(training.encoders.map(({ name }) => [name, ENCODERS[name]]))
    const ofAutoencoder = data.autoencoder && { [data.autoencoder]: AUTOENCODERS[data.autoencoder] }
    const isOfText = training.captionEncoder !== undefined
    expect(plan.parameters.encoders).toEqual({
      ...ofEncoder,
      ...ofAutoencoder,
      ...(isOfText && { 'clip-vit-L': CLIP_TEXT }),
    })
    expect(plan.data.withCaptions).toBe(isOfText)
    // What is made as the run trains is not on the disk, and what is prepared is encoded before.
    expect(plan.disk.latents > 0).toBe(!training.encodeLatents)
    expect(plan.commands.prepare!.includes('--autoencoder')).toBe(!training.encodeLatents)
    const { activations, peak, ...parts } = plan.memory
    expect(activations.blocks).toHaveLength(depth + ofHead)
    // The weights' array has gaps between parameters, and its block is rounded to an eighth.
    expect(parts.weights / (4 * plan.parameters.total)).toBeGreaterThan(1)
    expect(parts.weights / (4 * plan.parameters.total)).toBeLessThan(1.13)
    const ofModel = parts.weights + parts.lowPrecisionWeights + parts.gradients + parts.moments + parts.ema
    const ofEncoders = parts.encoderWeights + parts.encoderActivations
    const ofStep = activations.total + parts.activationGradients + parts.batch + parts.workspace + parts.other
    expect(ofModel + ofEncoders + ofStep).toBe(peak)
    expect(parts.taken).toBeGreaterThanOrEqual(peak)
    // The passes of its batch, on the H100 that the reference has.
    expect(parts.fits).toBe(true)
  })
})

describe(`two steps at a shrunken size${imagesSuffix}`, () => {
  test.skipIf(!haveImages).for(recipes)('$name', async (recipe) => {
    const folder = temporaryFolder()
    const { model, encoders, alignDepth, ...rest } = recipe.training
    const isOfText = rest.captionEncoder !== undefined
    const data = await photographs(join(folder, 'data'), { flip: rest.flip ?? false, withCaptions: isOfText })
    const { kind } = transformerOfPreset(model as never)
    const text = isOfText && { text: { tokens: 9, width: 64 } }
    const configuration = {
      ...rest,
      model: { kind, depth: 8, hidden: 32, heads: 2, patch: 2, ...text },
      ...(isOfText && { captionEncoder: { file: await writeClipFolder(join(folder, 'clip'), { tokens: 9 }) } }),
      encoders: await Promise.all(
        encoders.map(async ({ name }) => ({
          name,
          file: await tinyEncoder(name, join(folder, 'encoder.safetensors')),
        })),
      ),
      ...(alignDepth !== undefined && { alignDepth }),
      ...(rest.encodeLatents && { autoencoder: join(folder, 'taesd_encoder.safetensors') }),
      accumulate: Math.min(4, rest.accumulate),
      ...(encoders.length > 0 && rest.projector === 'mlp' && { projectorWidth: 16 }),
      batch: 4,
      steps: 2,
      sampleEvery: 2,
      samples: { count: 1, steps: 2 },
    } satisfies TrainingOptions
    if (rest.encodeLatents) await writeNarrowTaesd(folder)
    const steps: TrainingStep[] = []
    const out = join(folder, 'run')
    const { step, last } = await train({ data, out, configuration, device: 'cpu', onStep: (seen) => steps.push(seen) })
    expect({ step, made: steps.length }).toEqual({ step: 2, made: 2 })
    expect(last).toMatchObject({ finite: true, skipped: 0 })
    for (const { loss, denoising, alignment, vb } of steps) {
      expect(Number.isFinite(loss)).toBe(true)
      expect(vb !== undefined).toBe(kind === 'DiT')
      expect(alignment !== undefined).toBe(encoders.length > 0)
      // Nothing is learnt yet: the error of predicting zero, or nearly so, of unit noise and what it is mixed with.
      expect(denoising).toBeGreaterThan(0.5)
      if (alignment !== undefined) expect(Math.abs(alignment)).toBeLessThanOrEqual(1)
    }
  })
})

test('own-images at full size: ten classes, and room on a GPU of 24 GB', async () => {
  const { parameters, memory } = await planTraining({ recipe: 'own-images', gpu: 'RTX-4090' })
  expect(parameters.total).toBe(130_500_112 - 990 * 768 + 7_344_896)
  expect(memory.fits).toBe(true)
})

/** Eight photographs of 64 pixels with latents of 8 x 8: their mean colours and brightness over squares of 8 pixels. */
async function photographs(
  root: string,
  { flip, withCaptions }: { readonly flip: boolean; readonly withCaptions: boolean },
): Promise<string> {
  const [size, cell] = [64, 8]
  const source = join(imagesFolder, 'trashnet/photos30-384x512.zip')
  await prepareDataset({ source, out: root, size, maxImages: 8, allowEmptyClasses: true, flip })
  const data = await Dataset.open(root)
  const { labels } = JSON.parse(await readFile(join(root, 'images/dataset.json'), 'utf8')) as {
    labels: [string, number][]
  }
  if (withCaptions) {
    const captions = labels.map(([name, label]) => [name, [`a photo of ${data.classNames![label]}`]] as const)
    await writeFile(join(root, 'captions.json'), captionsJsonLines(captions))
  }
  const names = labels.map(([name, label]) => [name.replace(/img(\d+)\.png/, 'img-mean-std-$1.npy'), label] as const)
  await mkdir(join(root, 'vae-sd/00000'), { recursive: true })
  await writeFile(join(root, 'vae-sd/dataset.json'), JSON.stringify({ labels: names }))
  for (const [index, [name]] of names.entries()) {
    const { image } = await data.read(index, { image: true, latent: false })
    const moments = new Float32Array(8 * cell * cell).fill(0.5)
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const at = Math.floor(y / cell) * cell + Math.floor(x / cell)
        for (let channel = 0; channel < 3; channel++) {
          const value = (image![channel * size * size + y * size + x]! / 127.5 - 1) / cell ** 2
          moments[channel * cell ** 2 + at]! += 4 * value
          moments[3 * cell ** 2 + at]! += 2 * value
        }
      }
    }
    await writeNpy(join(root, 'vae-sd', name), hostFloat32(moments, [8, cell, cell]))
  }
  return root
}
