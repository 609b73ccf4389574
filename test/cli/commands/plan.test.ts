import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import type { TrainingPlan } from '../../../src/planning/plan.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

test('a recipe of the package: every part of the plan, and the commands', async () => {
  const { status, stdout, stderr } = await repa('plan', 'sit-b-2-repa', '--gpu', 'H200')
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  for (const line of [
    'SiT-B/2 + REPA, 400K steps: SiT-B/2, batch 256, bf16, on an H200',
    'model                 137,845,008',
    'dinov2-vit-b, frozen   86,580,480',
    'activations: 12 blocks, 2.0 GiB each',
    'not measured itself: scaled by its operations from SiT-B/2 at batch 256 on NVIDIA H200',
    '8 checkpoints of 2.1 GiB, all kept',
    'FID 24.4, sFID 6.4, IS 59.9, precision 0.59, recall 0.65 (arXiv 2410.06940, Tables 3 and 7)',
    'repa train --config sit-b-2-repa --data data/imagenet256 --out runs/sit-b-2-repa --autoencoder weights/sd-vae-ft-ema.safetensors\n',
    '--num 50000 --mode sde --steps 250 --cfg-scale 1 ',
  ]) {
    expect(stderr).toContain(line)
  }
})

test('a recipe of a model of text: its captions, what encodes them, and the part of the data whose captions are sampled', async () => {
  const { status, stderr } = await repa('plan', 'mmdit-d24-2-coco')
  expect(status).toBe(0)
  for (const line of [
    'MS-COCO 2014: 82,783 images of 256 pixels with captions; 150,000 steps are 464 epochs',
    'model                 512,612,112',
    'clip-vit-L, frozen    123,060,480',
    'step 150,000, ode 50, guidance 2 in [0, 1]   FID 4.73 (arXiv 2410.06940, text-to-image)',
    'repa prepare coco/val2014 --out data/coco256-val --size 256 --captions coco/annotations/captions_val2014.json\n',
    '--out samples/mmdit-d24-2-coco-150000-cfg2-sde250 --num 40192 --mode sde --steps 250 --prompts data/coco256-val ',
  ]) {
    expect(stderr).toContain(line)
  }
  // Data without captions would be refused by the training too.
  const data = await tinyDataset()
  expect(await repa('plan', 'mmdit-d24-2-coco', '--data', data, '--batch', '2')).toEqual({
    status: 1,
    stdout: '',
    stderr: `repa plan: The data in ${data} have no captions, which the model is told; prepare them with repa prepare --captions.\n`,
  })
})

test("what is given in the recipe's place is in the commands that are printed, down to the run's last checkpoint", async () => {
  const given = ['--batch', '2048', '--accumulate', '8', '--precision', 'fp16', '--steps', '60000']
  const { status, stderr } = await repa('plan', 'sit-b-2-repa', ...given)
  expect(status).toBe(0)
  const run = 'runs/sit-b-2-repa'
  for (const line of [
    'SiT-B/2, batch 2,048 in 8 passes, fp16, on an H100\n',
    `\nrepa train --config sit-b-2-repa --data data/imagenet256 --out ${run} ${given.join(' ')} --autoencoder `,
    'step 60,000, sde 250, no guidance  nothing is published of this\n',
    `\nrepa sample --checkpoint ${run}/checkpoints/0060000 --out samples/sit-b-2-repa-60000 `,
    '\nrepa evaluate fid --reference VIRTUAL_imagenet256_labeled.npz --samples samples/sit-b-2-repa-60000.npz ',
  ]) {
    expect(stderr).toContain(line)
  }
  expect(stderr).not.toContain('400,000')
})

test('--gpus: every part of the plan that they share, and that they do not', async () => {
  const plans = await Promise.all(
    [1, 8].map(async (gpus) => {
      const { stdout } = await repa('plan', 'sit-b-2-repa', '--gpus', String(gpus), '--json')
      return JSON.parse(stdout) as TrainingPlan
    }),
  )
  const [one, eight] = plans as [TrainingPlan, TrainingPlan]
  expect(eight).toMatchObject({ processes: 8, batch: 256, disk: one.disk })
  expect(eight.memory.weights).toBe(one.memory.weights)
  expect(8 * eight.memory.activations.blocks[3]!).toBe(one.memory.activations.blocks[3])
  // Of a share, but for the bytes that its begin and the arrays' ends are rounded to.
  expect(Math.abs((8 * eight.memory.moments) / one.memory.moments - 1)).toBeLessThan(1e-6)
  // AdamW without EMA and copy is 32 bytes a parameter, divided; EMA and copy are 10, and 4 to read weights that others have updated.
  const optimizerBytes = (one.work.optimizerBytes / 42) * (32 / 8 + 14)
  // A ring of g processes: each sends (g − 1) / g of the array twice.
  expect(eight.work).toEqual({ ...one.work, optimizerBytes, exchangedBytes: 1.75 * eight.memory.gradients })
  expect(one.work.exchangedBytes).toBe(0)
  expect(eight.speed!.imagesPerSecond).toBeCloseTo(8 * one.speed!.imagesPerSecond, 6)
  expect(eight.speed!.explanation).toContain(
    '8 times that: what exchanging gradients and weights takes nobody has measured',
  )
  expect(eight.commands.prepare).toContain('--processes 8')
  expect(one.commands.prepare).not.toContain('--processes')
  expect(eight.commands.train).toContain('--processes 8')
  expect(eight.commands.evaluations[0]!.sample).toContain('--processes 8')
  const { stderr } = await repa('plan', 'sit-b-2-repa', '--gpus', '8')
  expect(stderr).toContain('batch 256, bf16, on 8 times H100\n')
  expect(stderr).toContain('memory of each, at its fullest moment')
})

test.each([
  [['--gpus', '3'], 'A batch of 256 cannot be cut into equal passes by 3 processes; take a multiple of 3.'],
  [
    ['--gpus', '2', '--device', 'cpu'],
    'A CPU trains in one process, which uses all cores; leave the number of GPUs out.',
  ],
  [['--gpu', 'A10', '--device', 'cpu'], 'The plan is for a CPU; leave the GPU out (A10).'],
  [
    ['--share-of-peak', '0.4', '--device', 'cpu'],
    "A CPU's speed is taken from measurements; leave the share of a GPU's peak out.",
  ],
])('%j is refused', async (words, message) => {
  expect(await repa('plan', 'sit-b-2-repa', ...words)).toMatchObject({ status: 1, stderr: `repa plan: ${message}\n` })
})

test('--json is one object, and even then an assumption is said to be one', async () => {
  const { status, stdout, stderr } = await repa('plan', 'own-images', '--precision', 'fp16', '--json')
  expect(status).toBe(0)
  const plan = JSON.parse(stdout) as TrainingPlan
  expect(plan).toMatchObject({
    recipe: 'own-images',
    batch: 64,
    steps: 100_000,
    speed: { basis: 'assumed', share: 0.4 },
  })
  expect(stderr).toMatch(/^warning: The speed is ASSUMED, not measured: .*\n$/)
})

test('on a CPU the speed comes from the newest measurement, by file and machine', async () => {
  const { stderr, stdout } = await repa('plan', 'sit-b-2-repa', '--device', 'cpu', '--batch', '4', '--json')
  const { speed, precision } = JSON.parse(stdout) as TrainingPlan
  expect(precision).toBe('fp32')
  expect(speed).toMatchObject({
    basis: 'scaled from a measurement',
    measurement: { machine: expect.stringContaining('AMD EPYC') },
  })
  expect(stderr).toBe('')
})

test('--data: the images and classes are those that are there', async () => {
  const folder = temporaryFolder()
  const recipe = join(folder, 'mine.jsonc')
  const data = { name: 'x', source: 'x', folder: 'x', images: 5, classes: 2, size: 64, latents: [8, 8, 8] }
  const evaluations = [{ step: 10, sampling: { mode: 'ode', steps: 5 } }]
  const training = {
    model: { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 2 },
    batch: 2,
    steps: 10,
    encoders: [{ name: 'hog' }],
  }
  writeFileSync(recipe, `// mine\n${JSON.stringify({ training, recipe: { title: 'mine', data, evaluations } })}`)
  const described = JSON.parse((await repa('plan', recipe, '--json')).stdout) as TrainingPlan
  expect(described.data).toMatchObject({ images: 5, classes: 2, size: 64 })
  const images = await tinyDataset()
  const real = JSON.parse((await repa('plan', recipe, '--data', images, '--json')).stdout) as TrainingPlan
  expect(real.data).toMatchObject({ images: 2, classes: 5, size: 64 })
  expect(real).toMatchObject({ epochs: 10, cachedEncoders: [] })
  const printed = (await repa('plan', recipe, '--data', images)).stderr.split('\ncommands\n')[1]!
  expect(printed).toMatch(/^repa train /)
  expect(printed).toContain(` --data ${images} `)
  expect(await repa('prepare', images, '--out', images, '--features', 'hog')).toMatchObject({ status: 0 })
  expect((await repa('plan', recipe, '--data', images)).stderr).toContain(
    'hog does not run: its features are with the data',
  )
})

test('without a recipe, or with --list: what recipes there are', async () => {
  const listed = await repa('plan', '--list')
  expect(listed).toMatchObject({ status: 0, stdout: '' })
  expect(listed.stderr).toMatch(/^sit-xl-2-repa +SiT-XL\/2 \+ REPA, 400K steps$/m)
  expect(await repa('plan')).toEqual(listed)
  expect(JSON.parse((await repa('plan', '--json')).stdout)).toMatchObject({
    recipes: expect.arrayContaining([expect.objectContaining({ name: 'own-images' })]),
  })
})

test.each([
  ['an unknown name', ['plan', 'sit-xl-2-rapa'], 'did you mean sit-xl-2-repa?'],
  ['a file that is no JSON', ['plan', 'FILE', '--json'], 'is not JSON: '],
  [
    'training by an unknown name',
    ['train', '--config', 'sit-x', '--data', 'd', '--out', 'o'],
    'There is neither a file sit-x nor a recipe',
  ],
  // It got as far as the data: the recipe's settings were taken.
  [
    'training by a name',
    ['train', '--config', 'sit-b-2-repa', '--data', 'nowhere', '--out', 'FOLDER'],
    "'nowhere' is not a prepared data set",
  ],
])('%s', async (_name, words, message) => {
  const folder = temporaryFolder()
  const file = join(folder, 'recipe.jsonc')
  writeFileSync(file, '// a comment\n{ "training": {}, }')
  const { status, stderr } = await repa(
    ...words.map((word) => ({ FILE: file, FOLDER: join(folder, 'run') })[word] ?? word),
  )
  expect(status).toBe(1)
  expect(stderr).toContain(message)
})
