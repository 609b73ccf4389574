import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { encodePng } from '../../src/data/png.ts'
import { compareImages } from '../../src/evaluation/compare-images.ts'
import { type FeatureNetwork, loadFeatureNetwork } from '../../src/evaluation/feature-network.ts'
import { writeFeatureStatistics } from '../../src/evaluation/stored-statistics.ts'
import { NpzWriter } from '../../src/formats/npz.ts'
import { memoryStats, synchronize } from '../../src/tensor/device.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

const SIDE = 16

function pixelsOf(count: number, seed: number): Uint8Array {
  return Uint8Array.from(random([count * SIDE * SIDE * 3], seed).data, (value) => 128 + 50 * value)
}

/** The same images as a folder of PNG files and as an npz. */
async function images(count: number, seed: number): Promise<{ folder: string; npz: string }> {
  const root = temporaryFolder()
  const pixels = pixelsOf(count, seed)
  const length = SIDE * SIDE * 3
  mkdirSync(join(root, 'folder'))
  for (let n = 0; n < count; n++) {
    const name = `${String(n).padStart(6, '0')}.png`
    writeFileSync(join(root, 'folder', name), encodePng(pixels.subarray(n * length, (n + 1) * length), SIDE, SIDE, 3))
  }
  const npz = join(root, 'images.npz')
  await writeNpz(npz, { arr_0: { dtype: 'u8', shape: [count, SIDE, SIDE, 3], data: pixels } })
  return { folder: join(root, 'folder'), npz }
}

async function writeNpz(path: string, arrays: Record<string, Parameters<NpzWriter['add']>[1]>): Promise<void> {
  const writer = await NpzWriter.create(path)
  for (const [name, tensor] of Object.entries(arrays)) await writer.add(name, tensor)
  await writer.close()
}

const hog = () => loadFeatureNetwork('hog', undefined, { device: 'cpu' })

describe('compareImages', () => {
  test.each([
    ['are not there', 'nowhere', 'There is no image source'],
    ['are an npz that is not there', 'nowhere.npz', 'Cannot read'],
    ['are statistics that are not there', 'nowhere.safetensors', 'Cannot read'],
    ['hold no images', '.', 'holds no images'],
    ['are statistics of another network', 'other.npz', 'holds statistics of 64 features of another network'],
  ])('samples that %s are refused before the reference is seen', async (_, name, message) => {
    const { folder } = await images(2, 1)
    const root = temporaryFolder()
    await writeNpz(join(root, 'other.npz'), {
      mu: hostFloat32(new Float32Array(64), [64]),
      sigma: hostFloat32(new Float32Array(64 * 64), [64, 64]),
    })
    using network = await hog()
    const seen: string[] = []
    const compared = compareImages({
      reference: folder,
      samples: join(root, name),
      network,
      onProgress: (side) => seen.push(side),
    })
    await expect(compared).rejects.toThrow(message)
    expect(seen).toEqual([])
  })

  test('a set against itself, as a folder, an npz or stored statistics, is at 0, wholly precise and recalled', async () => {
    const { folder, npz } = await images(150, 1)
    const statistics = join(temporaryFolder(), 'not/there/yet/reference.safetensors')
    using network = await hog()
    await synchronize('cpu')
    const before = memoryStats('cpu').liveBytes
    const made = await compareImages({ reference: folder, network, saveStatistics: statistics })
    expect(made).toMatchObject({ fid: null, precision: null, referenceImages: 150 })
    for (const [reference, samples] of [
      [folder, folder],
      [folder, npz],
      [statistics, npz],
      [npz, statistics],
    ] as const) {
      const progress: string[] = []
      const result = await compareImages({
        reference,
        samples,
        network,
        onProgress: (part, done, total) => progress.push(`${part} ${done}/${total}`),
      })
      expect(result).toMatchObject({
        precision: 1,
        recall: 1,
        sfid: null,
        is: null,
        referenceImages: 150,
        sampleImages: 150,
      })
      expect(result.fid).toBeLessThan(1e-3)
      // From the start, so that whoever shows it knows when that was.
      for (const [part, images] of [
        ...(samples === statistics ? [] : [['samples', 150] as const]),
        ['neighbours', 300] as const,
      ]) {
        const lines = progress.filter((line) => line.startsWith(part))
        expect([lines[0], lines.at(-1)]).toEqual([`${part} 0/${images}`, `${part} ${images}/${images}`])
      }
    }
    await synchronize('cpu')
    expect(memoryStats('cpu').liveBytes).toBe(before)
  })

  test('a picture that cannot be read ends it, but not before the network is done with those before it', async () => {
    const { folder } = await images(3, 1)
    writeFileSync(join(folder, '000001.png'), 'no picture')
    const [started, ended]: [number[], number[]] = [[], []]
    const network: FeatureNetwork = {
      name: 'slow',
      width: 2,
      batch: 1,
      run: async ({ count }) => {
        started.push(count)
        await wait(50)
        ended.push(count)
        return { features: new Float32Array(2) }
      },
      [Symbol.dispose]: () => {},
    }
    await expect(compareImages({ reference: folder, samples: folder, network })).rejects.toThrow('000001.png')
    expect(started).toEqual([1])
    expect(ended).toEqual([1])
  })

  test('other images are further away', async () => {
    using network = await hog()
    const flat = join(temporaryFolder(), 'flat.npz')
    await writeNpz(flat, {
      arr_0: { dtype: 'u8', shape: [150, SIDE, SIDE, 3], data: new Uint8Array(150 * SIDE * SIDE * 3) },
    })
    const { npz } = await images(150, 1)
    const result = await compareImages({ reference: npz, samples: flat, network })
    expect(result.fid).toBeGreaterThan(0.1)
    expect(result).toMatchObject({ precision: 0, recall: 0 })
  })

  test('samples that show half of what the reference does are wholly precise and recall a half', async () => {
    const shown = pixelsOf(20, 3)
    const [reference, samples] = [join(temporaryFolder(), 'all.npz'), join(temporaryFolder(), 'half.npz')]
    // Behind them as many of one grey.
    const data = new Uint8Array(2 * shown.length)
    data.set(shown)
    await writeNpz(reference, { arr_0: { dtype: 'u8', shape: [40, SIDE, SIDE, 3], data } })
    await writeNpz(samples, { arr_0: { dtype: 'u8', shape: [20, SIDE, SIDE, 3], data: shown } })
    using network = await hog()
    expect(await compareImages({ reference, samples, network })).toMatchObject({ precision: 1, recall: 0.5 })
  })

  test('fewer images than features are said to make the distance too large', async () => {
    const { npz } = await images(20, 2)
    using network = await hog()
    const notices: string[] = []
    await compareImages({ reference: npz, samples: npz, network, onNotice: (message) => notices.push(message) })
    expect(notices).toHaveLength(2)
    expect(notices[0]).toContain('The reference is 20 images, fewer than the 129 that a covariance')
    expect(notices[0]).toContain('the Fréchet distance comes out too large')
  })

  test.each([
    { count: 128, warnings: 1 },
    { count: 129, warnings: 0 },
  ])('$count images are warned of $warnings times by a network of 128 features', async ({ count, warnings }) => {
    const { npz } = await images(count, 2)
    using network = await hog()
    const notices: string[] = []
    const saveStatistics = join(temporaryFolder(), 'statistics.safetensors')
    await compareImages({ reference: npz, network, saveStatistics, onNotice: (message) => notices.push(message) })
    expect(notices).toHaveLength(warnings)
  })

  test('samples that are not all there are told of', async () => {
    const { folder, npz } = await images(129, 2)
    using network = await hog()
    const told = async () => {
      const notices: string[] = []
      await compareImages({ reference: npz, samples: folder, network, onNotice: (message) => notices.push(message) })
      return notices
    }
    expect(await told()).toEqual([])
    writeTree(folder, { 'unfinished/repa-sampling.json': '{}' })
    expect(await told()).toEqual([
      `${folder} holds an unfinished sampling: its images are not all there, and may be of several calls.`,
    ])
  })

  test('statistics that were made of statistics alone say so, and have no features', async () => {
    const { npz } = await images(150, 1)
    const [first, second] = [join(temporaryFolder(), 'first.npz'), join(temporaryFolder(), 'second.safetensors')]
    const identity = Float32Array.from({ length: 128 * 128 }, (_, i) => Number(i % 129 === 0))
    await writeNpz(first, { mu: hostFloat32(new Float32Array(128), [128]), sigma: hostFloat32(identity, [128, 128]) })
    using network = await hog()
    await compareImages({ reference: first, network, saveStatistics: second })
    const notices: string[] = []
    const result = await compareImages({ reference: second, samples: npz, network, onNotice: (it) => notices.push(it) })
    expect(result).toMatchObject({ precision: null, recall: null, referenceImages: null })
    expect(notices).toEqual([
      'The reference has statistics alone, no features or images: there is no precision and recall.',
    ])
  })

  test("Inception statistics without those of spatial features are said to be another program's", async () => {
    const file = join(temporaryFolder(), 'pytorch-fid.npz')
    await writeNpz(file, {
      mu: hostFloat32(new Float32Array(2), [2]),
      sigma: hostFloat32(Float32Array.of(1, 0, 0, 1), [2, 2]),
    })
    const network: FeatureNetwork = {
      name: 'inception',
      width: 2,
      spatialWidth: 1,
      batch: 1,
      run: () => Promise.reject(new Error('There is no image.')),
      [Symbol.dispose]: () => {},
    }
    const notices: string[] = []
    const result = await compareImages({ reference: file, samples: file, network, onNotice: (it) => notices.push(it) })
    expect(result).toMatchObject({ fid: 0, sfid: null })
    expect(notices[0]).toBe(
      "The reference has no statistics of spatial features (mu_s and sigma_s): there is no sFID, and if they are pytorch-fid's, which resizes images otherwise, the FID is not the ADM suite's.",
    )
  })

  test('of images beside statistics of more, as in the ADM suite, the images give all but the distances', async () => {
    const root = temporaryFolder()
    const pixels = pixelsOf(8, 1)
    const images = (count: number) =>
      ({ dtype: 'u8', shape: [count, SIDE, SIDE, 3], data: pixels.subarray(0, count * SIDE * SIDE * 3) }) as const
    const statistics = {
      mu: hostFloat32(new Float32Array(2), [2]),
      sigma: hostFloat32(Float32Array.of(1, 0, 0, 1), [2, 2]),
    }
    await writeNpz(join(root, 'both.npz'), { arr_0: images(8), ...statistics })
    await writeNpz(join(root, 'one.npz'), { arr_0: images(1), ...statistics })
    // Sure of each image's class, which are two, in turn.
    const network: FeatureNetwork = {
      name: 'two classes',
      width: 2,
      classes: 2,
      batch: 3,
      run: async ({ count }) => ({
        features: Float32Array.from({ length: 2 * count }, (_, i) => i),
        logits: Float32Array.from({ length: 2 * count }, (_, i) => (i % 4 === 0 || i % 4 === 3 ? 800 : 0)),
      }),
      [Symbol.dispose]: () => {},
    }
    const both = join(root, 'both.npz')
    const result = await compareImages({ reference: both, samples: both, network })
    expect(result).toMatchObject({ fid: 0, precision: 1, recall: 1, referenceImages: null, sampleImages: null })
    // Of 8 images in batches of 3, 3 and 2 classes 0 and 1 come 5 and 3 times: exp of that distribution's entropy.
    expect(result.is).toBeCloseTo(Math.exp(-(5 / 8) * Math.log(5 / 8) - (3 / 8) * Math.log(3 / 8)), 12)
    // A single image has no covariance, and need not have one.
    const single = await compareImages({ reference: join(root, 'one.npz'), samples: both, network })
    expect(single).toMatchObject({ fid: 0, precision: null })
  })

  test('precision and recall of a part of the images are said to be that', async () => {
    const file = join(temporaryFolder(), 'many.safetensors')
    const gaussian = { count: 20_000, mean: new Float64Array(2), covariance: Float64Array.of(1, 0, 0, 1) }
    const features = Float32Array.from({ length: 2 * 10 }, (_, i) => i)
    const network: FeatureNetwork = {
      name: 'two',
      width: 2,
      batch: 1,
      run: async () => ({ features: Float32Array.of(1, 2) }),
      [Symbol.dispose]: () => {},
    }
    const written = { network: 'two', fingerprint: Float32Array.of(1, 2), gaussian, spatial: undefined, features }
    await writeFeatureStatistics(file, written)
    const notices: string[] = []
    await compareImages({ reference: file, samples: file, network, onNotice: (it) => notices.push(it) })
    const sentence = (side: string) =>
      `Precision and recall take 10 of the ${side} 20000 images, spread evenly over them: they are not those of another number.`
    expect(notices).toEqual([sentence("reference's"), sentence("samples'")])
  })

  test('each bad input is one sentence that says what is wrong', async () => {
    const root = temporaryFolder()
    const { folder, npz } = await images(12, 3)
    const file = (name: string) => join(root, name)
    await writeNpz(file('other.npz'), { images: hostFloat32(new Float32Array(3), [3]) })
    await writeNpz(file('narrow.npz'), {
      mu: hostFloat32(new Float32Array(64), [64]),
      sigma: hostFloat32(new Float32Array(64 * 64), [64, 64]),
    })
    await writeNpz(file('crooked.npz'), {
      mu: hostFloat32(new Float32Array(128), [128]),
      sigma: hostFloat32(new Float32Array(64), [64]),
    })
    const narrow = (changes: Record<number, number>) => ({
      mu: hostFloat32(new Float32Array(2), [2]),
      sigma: hostFloat32(
        Float32Array.from({ length: 4 }, (_, i) => changes[i] ?? Number(i % 3 === 0)),
        [2, 2],
      ),
    })
    await writeNpz(file('skew.npz'), narrow({ 1: 0.5 }))
    await writeNpz(file('negative.npz'), narrow({ 3: -50 }))
    await writeNpz(file('grey.npz'), { arr_0: { dtype: 'u8', shape: [2, 4, 4], data: new Uint8Array(32) } })
    writeFileSync(join(folder, 'zzz.png'), encodePng(new Uint8Array(8 * 8 * 3), 8, 8, 3))
    mkdirSync(file('damaged'))
    writeFileSync(join(file('damaged'), 'a.png'), 'no picture')
    using network = await hog()
    const broken: FeatureNetwork = {
      ...network,
      name: 'broken',
      run: async ({ count }) => ({ features: new Float32Array(count * 128).fill(1).fill(Number.NaN, 130, 131) }),
    }
    const undecided: FeatureNetwork = {
      ...network,
      name: 'undecided',
      classes: 2,
      run: async ({ count }) => ({
        features: new Float32Array(count * 128).fill(1),
        logits: new Float32Array(count * 2).fill(Number.NaN, 4, 5),
      }),
    }
    const gaussian = { mu: new Float32Array(128), sigma: new Float32Array(128 * 128) }
    await writeNpz(file('nan.npz'), {
      mu: hostFloat32(gaussian.mu.with(3, Number.NaN), [128]),
      sigma: hostFloat32(gaussian.sigma, [128, 128]),
    })
    await writeFeatureStatistics(file('nan.safetensors'), {
      network: 'hog',
      fingerprint: new Float32Array(1),
      gaussian: { count: 9, mean: new Float64Array(128), covariance: new Float64Array(128 * 128) },
      spatial: undefined,
      features: new Float32Array(3 * 128).fill(Number.POSITIVE_INFINITY, 5, 6),
    })
    await compareImages({
      reference: npz,
      network: { ...network, name: 'another' },
      saveStatistics: file('a.safetensors'),
    })
    const darker: FeatureNetwork = {
      ...network,
      run: async (batch) => ({ features: (await network.run(batch)).features.map((value) => 1.01 * value) }),
    }
    await compareImages({ reference: npz, network: darker, saveStatistics: file('darker.safetensors') })
    const cases: readonly (readonly [samples: string, network: FeatureNetwork, message: string])[] = [
      [folder, network, `'zzz.png' is 8×8 pixels and '000000.png' 16×16; images that are compared must be of one size`],
      // Which of the two sides it is of, its name alone does not say.
      [file('damaged'), network, `Cannot read the image '${join(file('damaged'), 'a.png')}': it is not a`],
      [
        file('other.npz'),
        network,
        'has no array arr_0 (images, u8 [N, H, W, 3]) and no statistics (mu and sigma); it has images.',
      ],
      [file('grey.npz'), network, 'arr_0 is u8 of shape [2,4,4]; expected images, u8 [N, H, W, 3].'],
      [file('narrow.npz'), network, 'holds statistics of 64 features of another network; hog has 128.'],
      [file('crooked.npz'), network, 'mu has shape [128] and sigma [64]; expected [D] and [D, D].'],
      [file('skew.npz'), network, 'sigma has 0 at [1, 0] and 0.5 at [0, 1]; a covariance is symmetric.'],
      [file('negative.npz'), network, 'sigma has -50 at [1, 1]; a variance cannot be below 0.'],
      [file('a.safetensors'), network, 'holds statistics of 128 features of another; hog has 128.'],
      [file('darker.safetensors'), network, 'holds statistics that hog made with other weights than these'],
      [npz, broken, 'broken gives image 1 (from 0) a feature that is NaN'],
      [npz, undecided, "undecided gives image 2 (from 0) a class's logit that is NaN"],
      [file('nan.npz'), network, 'mu has NaN as number 3 (from 0); statistics are finite.'],
      [file('nan.safetensors'), network, 'features has Infinity as number 5 (from 0); statistics are finite.'],
    ]
    for (const [samples, used, message] of cases) {
      await expect(compareImages({ reference: samples, samples, network: used })).rejects.toThrow(message)
    }
  })
})
