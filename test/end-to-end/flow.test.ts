import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { NpzFile } from '../../src/formats/npz.ts'
import { Program } from './program.ts'
import { shapePng, writeShapesZip } from './shapes-zip.ts'

const MODEL = JSON.stringify({ kind: 'SiT', depth: 3, hidden: 64, heads: 2, patch: 4 })
const TRAIN = ['train', '--data', 'data', '--model', MODEL, '--batch', '16', '--lr', '2e-3', '--ema-decay', '0.9']
const SIZE = 16

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)

beforeAll(async () => {
  program = await Program.build()
  await writeShapesZip(inWork('shapes.zip'), { perClass: 16, size: SIZE })
  await writeFile(inWork('null.json'), '{ "training": null }')
})

afterAll(() => program[Symbol.asyncDispose]())

const jsonLines = (stdout: string): Record<string, unknown>[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

async function pngSize(path: string): Promise<readonly [number, number]> {
  const { width, height } = await decodeImage(await readFile(path), path)
  return [width, height]
}

describe('prepare, train, sample, report', () => {
  test('prepare makes a data set of a zip', async () => {
    const { status, stdout, stderr } = await program.repa(
      ...['prepare', 'shapes.zip', '--out', 'data', '--size', String(SIZE), '--json'],
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(jsonLines(stdout)).toEqual([
      expect.objectContaining({
        out: 'data',
        images: 48,
        classNames: ['blue', 'green', 'red'],
        classCounts: [16, 16, 16],
        skipped: [],
      }),
    ])
    expect(await pngSize(inWork('data/images/00000/img00000047.png'))).toEqual([SIZE, SIZE])
    expect(JSON.parse(await readFile(inWork('data/images/dataset.json'), 'utf8')).labels).toHaveLength(48)
  })

  test.each([
    ['aligned', ['--encoder', 'hog', '--projector-width', '64']],
    ['vanilla', []],
  ])('train, %s: the loss falls', async (out, words) => {
    const { status, stdout, stderr } = await program.repa(
      ...[...TRAIN, '--out', out, '--steps', '100', '--sample-every', '50', '--json', ...words],
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const lines = jsonLines(stdout)
    expect(lines.at(-1)).toEqual({ done: true, step: 100, checkpoint: `${out}/checkpoints/0000100` })
    const steps = lines.slice(0, -1)
    expect(steps.map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    const mean = (of: string, from: number, to: number) =>
      steps.slice(from, to).reduce((sum, step) => sum + (step[of] as number), 0) / (to - from)
    // At the start the prediction is 0 and the loss the mean square of the velocity; a hundred steps explain half of it.
    expect(mean('denoising', 90, 100)).toBeLessThan(mean('denoising', 0, 1) / 2)
    if (out === 'aligned') expect(mean('alignment', 90, 100)).toBeLessThan(mean('alignment', 0, 1) - 0.3)
    else expect(steps.some((step) => 'alignment' in step)).toBe(false)
    const names = await readdir(inWork(out))
    expect(names.filter((name) => !name.startsWith('events.out.tfevents.')).sort()).toEqual([
      'checkpoints',
      'config.json',
      'metrics.jsonl',
      'samples',
    ])
    expect(await readdir(inWork(out, 'samples'))).toEqual(['0000050.png', '0000100.png'])
  })

  const SAMPLES: readonly (readonly [string, readonly string[]])[] = [
    ['ode, euler', ['--mode', 'ode']],
    ['ode, heun, without guidance', ['--solver', 'heun', '--cfg-scale', '1']],
    ['ode, more of it at high noise', ['--time-shift', '3', '--cfg-scale', '1']],
    ['sde', ['--mode', 'sde', '--cfg-scale', '1.5', '--guidance-low', '0.1']],
    ['the weights of the last step', ['--weights', 'model', '--classes', '2,0']],
    ['a guide', ['--guide', 'vanilla', '--cfg-scale', '2']],
  ]
  test.each(SAMPLES)('sample: %s', async (name, words) => {
    const out = `samples of ${name}`
    const { status, stdout, stderr } = await program.repa(
      ...['sample', '--checkpoint', 'aligned', '--out', out, '--num', '5', '--batch', '2', '--steps', '4', '--json'],
      ...['--npz', `${out}.npz`, '--grid', `${out}.png`, ...words],
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const [result, ...more] = jsonLines(stdout)
    expect(more).toEqual([])
    expect(result).toMatchObject({ count: 5, folder: out, npz: `${out}.npz`, grid: `${out}.png` })
    if (words.includes('--classes')) expect(result!.labels).toEqual([2, 0, 2, 0, 2])
    const files = (await readdir(inWork(out))).sort()
    expect(files).toEqual([...Array.from({ length: 5 }, (_, i) => `00000${i}.png`), 'sampling.json'])
    const { sampling } = JSON.parse(await readFile(inWork(out, 'sampling.json'), 'utf8')) as { sampling: object }
    expect(sampling).toMatchObject({
      steps: 4,
      ...(words.includes('--time-shift') && { timeShift: 3 }),
      ...(words.includes('--guide') && { guide: 'vanilla', guideStep: 100, guidanceScale: 2, guidanceHigh: 1 }),
    })
    expect(await pngSize(inWork(out, files[0]!))).toEqual([SIZE, SIZE])
    await using npz = await NpzFile.open(inWork(`${out}.npz`))
    const { dtype, shape, data } = await npz.read('arr_0')
    expect({ dtype, shape }).toEqual({ dtype: 'u8', shape: [5, SIZE, SIZE, 3] })
    // The pictures are the array's.
    const last = await decodeImage(await readFile(inWork(out, files[4]!)), 'last')
    expect(Buffer.from(last.data).equals(data.subarray(4 * SIZE * SIZE * 3))).toBe(true)
    expect((await pngSize(inWork(`${out}.png`)))[0]).toBeGreaterThanOrEqual(2 * SIZE)
  })

  test.each([
    ['', []],
    ['; 1 was given', ['--cfg-scale', '1']],
  ])('sample: a guide that would do nothing is refused%s', async (given, words) => {
    const all = ['sample', '--checkpoint', 'aligned', '--out', 'unguided', '--num', '1', '--guide', 'vanilla', ...words]
    const { status, stderr } = await program.repa(...all, '--quiet')
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining(
        `--guide needs a --cfg-scale above 1, which says how far to go away from it${given}.`,
      ),
    })
  })

  test('sample from a checkpoint, a run and a file of weights: the same pictures', async () => {
    const pictures = await Promise.all(
      ['aligned', 'aligned/checkpoints/0000100', 'aligned/checkpoints/0000100/ema.safetensors'].map(
        async (checkpoint, i) => {
          const words = ['--out', `from ${i}`, '--num', '1', '--steps', '2', '--heads', '2', '--quiet']
          const result = await program.repa('sample', '--checkpoint', checkpoint, ...words)
          expect(result).toMatchObject({ status: 0, stdout: '', stderr: '' })
          return readFile(inWork(`from ${i}`, '000000.png'), 'base64')
        },
      ),
    )
    expect(new Set(pictures).size).toBe(1)
  })

  test('sample into a folder with more images than are wanted: they would be taken for its own', async () => {
    const words = ['sample', '--checkpoint', 'aligned', '--out', 'fewer', '--steps', '2', '--quiet', '--num']
    expect(await program.repa(...words, '3')).toMatchObject({ status: 0 })
    expect(await program.repa(...words, '3')).toMatchObject({ status: 0 })
    const before = await readFile(inWork('fewer', '000000.png'))
    expect(await program.repa(...words, '2', '--seed', '1')).toMatchObject({
      status: 1,
      stderr:
        'repa sample: fewer holds 000002.png, an image of another call beyond the 2 that are wanted; remove what is there, or choose another folder.\n',
    })
    expect(await readFile(inWork('fewer', '000000.png'))).toEqual(before)
  })

  test('sample from weights that do not tell their heads: what is assumed is said', async () => {
    const weights = 'aligned/checkpoints/0000100/ema.safetensors'
    const words = ['--out', 'assumed', '--num', '1', '--steps', '2', '--quiet']
    expect(await program.repa('sample', '--checkpoint', weights, ...words)).toMatchObject({
      status: 0,
      stderr: `warning: ${weights} does not tell how many attention heads it has: 1 assumed, one for every 64 features; --heads sets it.\n`,
    })
  })

  test("convert: from the reference's file of a checkpoint a run goes on as from its own, to the byte", async () => {
    const encoder = ['--encoder', 'hog', '--projector-width', '64']
    await cp(inWork('aligned'), inWork('longer'), { recursive: true })
    const resumed = await program.repa(...TRAIN, ...encoder, '--out', 'longer', '--steps', '102', '--resume', '--quiet')
    expect(resumed).toMatchObject({ status: 0, stderr: '' })

    await program.repa('convert', 'aligned/checkpoints/0000100', 'reference.pt')
    // Its heads, two of 32, are not what 64 features usually have: the file says them.
    expect(await program.repa('convert', 'reference.pt', 'adopted/checkpoints/0000100')).toMatchObject({ status: 0 })
    const other = JSON.stringify({ kind: 'SiT', depth: 3, hidden: 64, heads: 4, patch: 4 })
    expect(
      await program.repa('train', '--data', 'data', '--out', 'adopted', '--resume', '--model', other),
    ).toMatchObject({
      status: 1,
      stderr: "repa train: adopted/checkpoints/0000100 is of a model with heads 2, this run's has 4.\n",
    })
    // The encoder is among the file's arguments; the decay of the EMA is not.
    const go = ['train', '--data', 'data', '--out', 'adopted', '--steps', '102', '--ema-decay', '0.9', '--resume']
    const adopted = await program.repa(...go, '--quiet')
    expect(adopted).toMatchObject({ status: 0, stdout: '', stderr: '' })
    for (const file of ['model', 'ema', 'optimizer']) {
      const of = (run: string) => readFile(inWork(run, `checkpoints/0000102/${file}.safetensors`))
      expect((await of('adopted')).equals(await of('longer')), file).toBe(true)
    }
    // It has a configuration of its own now, by which it goes on.
    expect(await program.repa(...go, '--lr', '1')).toMatchObject({
      status: 1,
      stderr: 'repa train: The run in adopted has --lr 0.002; a resumed run cannot change it to 1.\n',
    })
  })

  test('convert: a run that goes on from bare weights must name their encoders', async () => {
    await program.repa('convert', 'aligned/checkpoints/0000100/ema.safetensors', 'bare/checkpoints/0000000')
    const go = ['train', '--data', 'data', '--out', 'bare', '--steps', '2', '--batch', '4', '--resume']
    const { status, stderr } = await program.repa(...go)
    expect({ status, lines: stderr.trimEnd().split('\n').length }).toEqual({ status: 1, lines: 1 })
    expect(stderr).toMatch(
      /checkpoints\/0000000 has projectors for encoders of these widths: 128\. Given: none\. Name each by --encoder NAME=FILE/,
    )
    expect(await program.repa(...go, '--encoder', 'hog', '--quiet')).toMatchObject({ status: 0, stderr: '' })
  })

  test('--resume where there is nothing to resume says so', async () => {
    const { status, stderr } = await program.repa('train', '--data', 'data', '--out', 'nowhere', '--resume')
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr:
        'repa train: nowhere holds no run to resume: it has no config.json and no checkpoint in checkpoints/. Leave out --resume to begin one.\n',
    })
  })

  test('report: one page of both runs', async () => {
    const { status, stdout, stderr } = await program.repa(
      'report',
      'aligned',
      'vanilla',
      '--out',
      'both.html',
      '--json',
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(jsonLines(stdout)).toEqual([
      expect.objectContaining({
        report: 'both.html',
        runs: [
          { name: 'aligned', steps: 100 },
          { name: 'vanilla', steps: 100 },
        ],
      }),
    ])
    expect(await readFile(inWork('both.html'), 'utf8')).toMatch(/^<!doctype html>/i)
  })
})

test('a plan for this CPU counts the threads that a training would have', async () => {
  const recipe = fileURLToPath(new URL('../../recipes/sit-b-2-repa.jsonc', import.meta.url))
  const text = `
    import { planTraining } from './dist/planning/plan.js'
    const plan = { recipe: ${JSON.stringify(recipe)}, device: 'cpu', batch: 2, measurements: [] }
    console.log((await planTraining(plan)).machine.threads)`
  for (const threads of ['1', '3']) {
    expect(await program.script(text, { REPA_THREADS: threads })).toMatchObject({ status: 0, stdout: `${threads}\n` })
  }
})

describe('demo', () => {
  test('does the whole job in a few seconds', async () => {
    const { status, stdout, stderr } = await program.repa('demo', '--out', 'demo', '--minutes', '0.05', '--json')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const [result, ...more] = jsonLines(stdout)
    expect(more).toEqual([])
    expect(result).toMatchObject({ report: 'demo/report.html', run: 'demo/run' })
    expect(result!.steps).toBeGreaterThan(0)
    const page = await readFile(inWork('demo/report.html'), 'utf8')
    expect(page).toContain('<title>repa demo</title>')
    for (const title of ['Fréchet distance', 'Linear probing, t = 0.5', 'CKNNA to hog, t = 0'])
      expect(page).toContain(title)
    const drawnByModel = (await readdir(inWork('demo/samples'))).filter((name) => name.endsWith('.png'))
    expect(drawnByModel).toHaveLength(200)
    // Ten classes across, five of each down, each of 32 pixels with a border of two.
    const grid = await readFile(inWork(result!.grid as string))
    expect([grid.readUInt32BE(16), grid.readUInt32BE(20)]).toEqual([10 * 34 + 2, 5 * 34 + 2])
    expect((await readdir(inWork('demo'))).sort()).toEqual(
      ['data', 'held-out', 'made-by-repa-demo', 'report.html', 'run', 'samples'].sort(),
    )
    // Whatever so short a training makes of the samples: newly drawn images are nearer to those that were drawn before.
    const { samples, drawn, probe } = result!.evaluation as Record<string, Record<string, number>>
    expect(drawn!.fid).toBeLessThan(samples!.fid!)
    expect([samples!.sampleImages, drawn!.sampleImages, probe!.testImages]).toEqual([200, 200, 200])
    const again = ['--reference', 'demo/data/images', '--samples', 'demo/samples', '--features', 'hog', '--json']
    const [compared] = jsonLines((await program.repa('evaluate', 'fid', ...again)).stdout)
    const record = JSON.parse(await readFile(inWork('demo/run/evaluation/fid.json'), 'utf8'))
    expect(record).toEqual(compared)
    expect(record).toMatchObject({ step: result!.steps, sampling: { mode: 'ode', solver: 'heun', guidanceScale: 2.5 } })
  }, 240_000)

  test('says, where it is stopped, that it goes on from nothing', async () => {
    const running = program.start(['demo', '--out', 'stopped-demo'])
    while (!(await readdir(inWork('stopped-demo')).catch((): string[] => [])).includes('run')) await pause(50)
    running.child.kill('SIGINT')
    const { status, stderr } = await running.ended
    expect(status).toBe(130)
    expect(stderr).toMatch(/\nstopped; repa demo begins anew\n$/)
  })

  test('leaves a folder alone that no demo made', async () => {
    await mkdir(inWork('mine/data'), { recursive: true })
    await writeFile(inWork('mine/data/precious'), 'years of work')
    expect(await program.repa('demo', '--out', 'mine', '--minutes', '0.05')).toEqual({
      status: 1,
      signal: null,
      stdout: '',
      stderr: 'repa demo: mine is not empty and no earlier demo made it (it holds data); choose a new --out.\n',
    })
    expect(await readFile(inWork('mine/data/precious'), 'utf8')).toBe('years of work')
  })
})

describe('bad input', () => {
  const bad = { name: 'red/99-broken.png', data: shapePng(0, 0, SIZE).subarray(0, 60) }

  test('a broken image among good ones is named, and left out where that is asked for', async () => {
    await writeShapesZip(inWork('broken.zip'), { perClass: 2, size: SIZE, extra: [bad] })
    const words = ['prepare', 'broken.zip', '--size', String(SIZE), '--out']
    const failed = await program.repa(...words, 'stopped')
    expect(failed).toMatchObject({ status: 1, stdout: '' })
    expect(failed.stderr).toMatch(/repa prepare: .*red\/99-broken\.png.* is truncated.*\n$/)
    const skipped = await program.repa(...words, 'skipped', '--on-corrupt', 'skip')
    expect(skipped).toMatchObject({ status: 0, stdout: '' })
    expect(skipped.stderr).toMatch(/^warning: red\/99-broken\.png: .*; skipped$/m)
    expect(skipped.stderr).toMatch(/^skipped: 6 images of 16 x 16 in 3 classes$/m)
  })

  test.each([
    ['leaves the archive', '../outside.png', /outside\.png/],
    ['is absolute', '/etc/outside.png', /outside\.png/],
  ])('a zip whose entry %s is refused, and nothing is written', async (_, name, sentence) => {
    await writeShapesZip(inWork('hostile.zip'), { perClass: 1, size: SIZE, extra: [{ name, data: bad.data }] })
    const before = (await readdir(program.folder, { recursive: true })).length
    const { status, stdout, stderr } = await program.repa('prepare', 'hostile.zip', '--out', 'hostile', '--size', '16')
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(sentence)
    expect((await readdir(program.folder, { recursive: true })).length).toBe(before)
  })

  test('an empty class folder is named, and left out where that is asked for', async () => {
    for (const [folder, count] of [
      ['red', 1],
      ['green', 1],
      ['nothing', 0],
    ] as const) {
      await mkdir(inWork('folders', folder), { recursive: true })
      if (count > 0) await writeFile(inWork('folders', folder, '0.png'), shapePng(0, 0, SIZE))
    }
    const words = ['prepare', 'folders', '--size', String(SIZE), '--out']
    const failed = await program.repa(...words, 'empty')
    expect(failed).toMatchObject({ status: 1, stdout: '' })
    expect(failed.stderr).toMatch(
      /^repa prepare: .*'nothing'\. Remove them, or accept them by --allow-empty-classes\.\n$/,
    )
    expect(await program.repa(...words, 'empty', '--allow-empty-classes', '--json')).toMatchObject({ status: 0 })
  })

  const FAILURES: readonly (readonly [words: readonly string[], status: number, stderr: RegExp])[] = [
    [['train'], 2, /^repa train: .*--data.*\n$/],
    [[...TRAIN, '--out', 'x', '--bacth', '3'], 2, /did you mean '?--batch'?\?/],
    [[...TRAIN, '--out', 'x', '--steps', '0'], 2, /--steps/],
    [[...TRAIN, '--out', 'x', '--model', '{"kind"'], 2, /^repa train: --model \{"kind" is not JSON/],
    [[...TRAIN, '--out', 'x', '--model', 'SiT-S/3'], 1, /did you mean "SiT-S\/\d"\?\n$/],
    [[...TRAIN, '--out', 'x', '--device', 'cuda'], 1, /There is no cuda here/],
    [[...TRAIN, '--out', 'x', '--precision', 'bf16'], 1, /^repa train: The CPU computes in fp32 only/],
    [[...TRAIN, '--out', 'x', '--encoder', 'dinov2-vit-b'], 1, /needs the file of its weights/],
    [[...TRAIN, '--out', 'x', '--encoder', 'dinov3'], 1, /"dinov3"/],
    [
      [...TRAIN, '--out', 'x', '--batch', '49'],
      1,
      /^repa train: A batch of 49 is more than the 48 images in data; take a smaller batch\.\n$/,
    ],
    [
      [...TRAIN, '--out', 'x', '--model', MODEL.replace('"patch":4', '"patch":3')],
      1,
      /patch is 3: a patch of 3 does not divide an input of 16 x 16\.\n$/,
    ],
    [
      [...TRAIN, '--out', 'x', '--encoder', 'hog', '--align-depth', '9'],
      1,
      /alignDepth is 9: block 9 does not exist in a model of 3 blocks\.\n$/,
    ],
    [[...TRAIN, '--out', 'x', '--data', 'missing'], 1, /^repa train: .*missing.*\n$/],
    [[...TRAIN, '--out', 'x', '--config', 'shapes.zip'], 1, /^repa train: shapes\.zip is not JSON: .*\n$/],
    [
      [...TRAIN, '--out', 'x', '--config', 'null.json'],
      1,
      /^repa train: null\.json must hold a JSON object of settings, or one as its "training"\.\n$/,
    ],
    [
      ['prepare', 'data', '--out', 'x', '--autoencoder', 'sd'],
      1,
      /^repa prepare: There is no autoencoder sd: expected a file of weights or a folder with one\.\n$/,
    ],
    [['prepare', 'missing', '--out', 'x'], 1, /^repa prepare: .*missing.*\n$/],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--guidance-low', '0.9'],
      2,
      /^repa sample: --guidance-low 0\.9 is above --guidance-high 0\.7/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--mode', 'sde', '--solver', 'heun'],
      2,
      /^repa sample: --solver heun is of --mode ode, not of sde; leave it out\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--mode', 'sde', '--time-shift', '3'],
      2,
      /^repa sample: --time-shift 3 is of --mode ode, not of sde; leave it out\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--solver', 'dopri5', '--time-shift', '3'],
      2,
      /^repa sample: --time-shift 3 shifts the steps of euler and heun, and dopri5 chooses its own; leave it out\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--cls-cfg-scale', '2'],
      2,
      /^repa sample: --cls-cfg-scale 2 is of a model with a class token \(REG\), and this one has none; leave it out\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--cfg-scale', '1', '--cls-cfg-scale', '2'],
      2,
      /^repa sample: --cls-cfg-scale 2 is of guidance, and --cfg-scale 1 has none; leave it out\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--eta', '0.5'],
      2,
      /^repa sample: --eta 0\.5 is of --mode ddim, not of ode; leave it out\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--heads', '4'],
      1,
      /^repa sample: aligned\/checkpoints\/0000100 is of a model with heads 2, not 4; leave it out, the checkpoint says what it is\.\n$/,
    ],
    [
      ['evaluate', 'probe', '--checkpoint', 'aligned', '--data', 'data', '--noise', '0,1.5', '--out', 'x.json'],
      2,
      /^repa evaluate probe: --noise 1\.5 is no time of the path: expected numbers from 0 to 1\.\n$/,
    ],
    [
      ['sample', '--checkpoint', 'aligned', '--out', 'x', '--num', '1', '--classes', '3'],
      1,
      /^repa sample: There is no class 3: the model has the classes 0 to 2\.\n$/m,
    ],
    [
      ['sample', '--checkpoint', 'data', '--out', 'x', '--num', '1'],
      1,
      /^repa sample: data is neither a checkpoint nor a run with one/,
    ],
    [
      ['sample', '--checkpoint', 'missing', '--out', 'x', '--num', '1'],
      1,
      /^repa sample: missing: there is no such file or folder/,
    ],
    [['sample', '--checkpoint', 'shapes.zip', '--out', 'x', '--num', '1'], 1, /^repa sample: shapes\.zip: .*\n$/],
    [['demo', '--minutes', '0'], 2, /--minutes/],
  ]
  test.each(FAILURES)('repa %j exits %i', async (words, status, sentence) => {
    const result = await program.repa(...words)
    expect(result).toMatchObject({ status, stdout: '' })
    expect(result.stderr).toMatch(sentence)
    // No stack, and nothing made.
    expect(result.stderr).not.toMatch(/^ +at /m)
    expect(await readdir(program.work)).not.toContain('x')
  })
})
