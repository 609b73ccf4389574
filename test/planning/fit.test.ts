import { afterEach, describe, expect, test } from 'vitest'
import { ENCODER_NAMES } from '../../src/alignment/encoder-names.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { chooseRecomputation, fewestPasses, fitStep } from '../../src/planning/fit.ts'
import { planTraining } from '../../src/planning/plan.ts'
import { planStep } from '../../src/planning/planned-step.ts'
import { memoryStats, setMemoryLimit } from '../../src/tensor/device.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'

const DATA = { path: 'nowhere', length: 1000, classes: 1000, imageSize: 256, storedLatentShape: [8, 32, 32] } as const

const options = (training: TrainingOptions) => ({
  configuration: { ...trainingSchema.parse(training), precision: 'fp32' as const },
  data: Dataset.described(DATA),
  cachedEncoders: [] as readonly string[],
  device: 'cpu',
  machine: { threads: 2, multiprocessors: 132, isHopper: true },
})

const small = options({ model: 'SiT-S/2', encoders: [{ name: 'hog' }], batch: 8 })
const taken = (recompute: Recomputation) => planStep({ ...small, recompute }).takenBytes

const inPasses = (accumulate: number) => ({ ...small, configuration: { ...small.configuration, accumulate } })

describe('a step by the room that there is', () => {
  test('auto keeps everything where it fits, to the byte', () => {
    const bytes = taken('none')
    expect(fitStep(small, bytes)).toMatchObject({ recompute: 'none', fits: true, plainBytes: bytes })
    expect(fitStep(small, bytes - 1)).toMatchObject({ recompute: 'elementwise', fits: true, plainBytes: bytes })
  })

  test('and says where even what is computed again leaves too little', () => {
    expect(fitStep(small, taken('elementwise') - 1)).toMatchObject({ recompute: 'elementwise', fits: false })
  })

  test('what is asked for is what is planned', () => {
    const asked = (recompute: Recomputation) => ({
      ...small,
      configuration: { ...small.configuration, recompute },
    })
    expect(fitStep(asked('none'), 0)).toMatchObject({ recompute: 'none', fits: false })
    expect(fitStep(asked('elementwise'), Number.POSITIVE_INFINITY)).toMatchObject({
      recompute: 'elementwise',
      fits: true,
      plainBytes: taken('none'),
    })
  })

  test.each([
    [{ model: 'SiT-S/2', encoders: [{ name: 'hog' }], batch: 12 }, 'cpu', 1],
    [{ model: 'SiT-S/2', batch: 24, recompute: 'none' }, 'cpu', 2],
    [{ model: 'DiT-S/2', encoders: [{ name: 'hog' }], batch: 12, recompute: 'elementwise' }, 'cuda:0', 1],
  ] as const)('few passes tell what many take, to the byte: %o on %s, processes: %i', (training, device, processes) => {
    const asked = { ...options(training as unknown as TrainingOptions), device, processes }
    // What the configuration allows least of.
    const recompute = asked.configuration.recompute === 'none' ? 'none' : 'elementwise'
    const divisors = [2, 3, 4, 6, 12]
    const bytes = divisors.map((accumulate) => {
      const configuration = { ...asked.configuration, accumulate }
      return planStep({ ...asked, configuration, recompute }).takenBytes
    })
    for (const most of bytes.slice(2).flatMap((taken) => [taken - 1, taken])) {
      const expected = divisors[bytes.findIndex((taken) => taken <= most)]
      expect(fewestPasses(asked, most), `${most} bytes`).toBe(expected)
    }
  })

  test('of hundreds of passes none is planned one by one', { timeout: 20_000 }, () => {
    const asked = options({ model: 'SiT-S/2', batch: 2 ** 14 })
    expect(fewestPasses(asked, 2 ** 32)).toBeGreaterThan(100)
  })

  test('the fewest passes are the first divisor whose step fits', () => {
    const bytes = [2, 4].map((accumulate) => planStep({ ...inPasses(accumulate), recompute: 'elementwise' }).takenBytes)
    expect(bytes[1]).toBeLessThan(bytes[0]!)
    expect(fewestPasses(small, bytes[0]!)).toBe(2)
    expect(fewestPasses(small, bytes[0]! - 1)).toBe(4)
    expect(fewestPasses(inPasses(4), bytes[0]!)).toBe(8)
    expect(fewestPasses(small, 0)).toBeUndefined()
    // Its loss is of the whole batch.
    const dispersed = { ...small, configuration: { ...small.configuration, dispersiveWeight: 1 } }
    expect(fewestPasses(dispersed, bytes[0]!)).toBeUndefined()
  })
})

describe('the choice on a device that is here', () => {
  const limit = memoryStats('cpu').limitBytes
  afterEach(() => setMemoryLimit('cpu', limit))

  test.each<readonly [string, () => number, Recomputation, readonly RegExp[]]>([
    ['enough', () => taken('none'), 'none', []],
    [
      'less',
      () => taken('none') - 1,
      'elementwise',
      [/^A step would take .*, and this machine has \S+ \S+: activations, .* no bit of the results\.$/],
    ],
  ])('%s', async (_, room, choice, said) => {
    setMemoryLimit('cpu', room())
    const notices: string[] = []
    expect(await chooseRecomputation({ ...small, processes: 1, onNotice: (sentence) => notices.push(sentence) })).toBe(
      choice,
    )
    expect(notices).toHaveLength(said.length)
    for (const [i, pattern] of said.entries()) expect(notices[i]).toMatch(pattern)
  })

  test.each<readonly [string, less: number, Recomputation]>([
    ['enough', 0, 'none'],
    ['less', 1, 'elementwise'],
  ])('%s for each of two processes, which share the memory', async (_, less, choice) => {
    const processes = 2
    setMemoryLimit('cpu', processes * (planStep({ ...small, processes, recompute: 'none' }).takenBytes - less))
    const notices: string[] = []
    const onNotice = (sentence: string) => void notices.push(sentence)
    expect(await chooseRecomputation({ ...small, processes, onNotice })).toBe(choice)
    expect(notices).toEqual(
      choice === 'none'
        ? []
        : [expect.stringMatching(/, and this machine has \S+ \S+ for each process: activations, /)],
    )
  })

  test.each<readonly [string, () => number, RegExp]>([
    [
      'too little',
      () => planStep({ ...inPasses(4), recompute: 'elementwise' }).takenBytes,
      /^A step would take .*, and this machine has .*: `accumulate: 4` makes the same batch in 4 passes that fit\. `recompute: 'elementwise'`/,
    ],
    ['nothing', () => 1, /: take a smaller batch or model\. `recompute: 'elementwise'` tries it all the same\.$/],
  ])('%s is refused', async (_, room, sentence) => {
    setMemoryLimit('cpu', room())
    await expect(chooseRecomputation({ ...small, processes: 1, onNotice: () => {} })).rejects.toThrow(sentence)
  })

  const training = { model: { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 2 }, batch: 2 } as const

  test.each(ENCODER_NAMES)('a step with %s can be planned', (name) => {
    const file = 'encoder.safetensors'
    // Of vit alone does the file say the size.
    const stated = visionTransformerConfigSchema.parse({ hidden: 48, depth: 1, heads: 3, imageSize: 32, patch: 2 })
    const asked = { ...options({ ...training, encoders: [{ name, file }] }), statedModels: new Map([[file, stated]]) }
    expect(fitStep(asked, 2 ** 50).recompute).toBe('none')
  })

  test('of vit without a file the features that are with the data say the width', () => {
    const { data, ...rest } = options({ ...training, encoders: [{ name: 'vit' }] })
    expect(() => fitStep({ ...rest, data }, 2 ** 50)).toThrow(/stand in its file alone: name it, vit=RUN/)
    const features = [{ encoder: 'vit', width: 48, grid: [16, 16] satisfies [number, number] }]
    const cached = Dataset.described({ ...DATA, features })
    expect(fitStep({ ...rest, data: cached, cachedEncoders: ['vit'] }, 2 ** 50).recompute).toBe('none')
  })
})

test('SiT-XL/2 with REPA at batch 256 fits into 80 GB, and in passes into 24', async () => {
  const recipe = 'sit-xl-2-repa'
  const { memory } = await planTraining({ recipe, gpu: 'H100' })
  expect(memory).toMatchObject({ fits: true, recompute: 'elementwise', fewestPasses: undefined })
  expect(memory.taken).toBeLessThan(75 * 2 ** 30)
  expect(memory.takenPlain).toBeGreaterThan(80 * 2 ** 30)
  // 12 of 20 tensors [B, T, D] in 16 bits.
  const kept = (await planTraining({ recipe, gpu: 'H100', recompute: 'none' })).memory
  expect(kept).toMatchObject({ fits: false, recompute: 'none', taken: memory.takenPlain })
  expect(memory.activations.blocks[3]! / kept.activations.blocks[3]!).toBeCloseTo(12 / 20, 1)
  const { fewestPasses: passes } = (await planTraining({ recipe, gpu: 'RTX-4090' })).memory
  expect((await planTraining({ recipe, gpu: 'RTX-4090', accumulate: passes })).memory.fits).toBe(true)
})
