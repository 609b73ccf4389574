/** Captions through a preparation: what it writes, and what a data set reads. */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { type PrepareOptions, prepareDataset } from '../../src/data/prepare.ts'
import { together } from '../distributed/together.ts'
import { folderDigest } from './folder-digest.ts'
import { blockMoments, pictures, setup, tokenMeans } from './preparing.ts'
import { tinyDataset } from './tiny-dataset.ts'

/** `count` pictures, each with a text of as many captions as its number says, one at least. */
function captioned(count: number): Record<string, Uint8Array | string> {
  const images = pictures(count)
  const texts = Object.keys(images).map((name, i) => [name.replace('.png', '.txt'), captionsOf(i).join('\n')] as const)
  return { ...images, ...Object.fromEntries(texts) }
}

/** Of the image that `pictures` has made as the `i`th. */
const captionsOf = (i: number): string[] => Array.from({ length: 1 + (i % 3) }, (_, k) => `image ${i} caption ${k} "ü"`)

/** The pictures' numbers in the order of their names, which begin with the class. */
const ordered = (count: number): number[] =>
  [0, 1, 2].flatMap((label) => Array.from({ length: count }, (_, i) => i).filter((i) => i % 3 === label))

const BESIDE = { captions: 'beside' } satisfies Partial<PrepareOptions>

describe('prepareDataset with captions', () => {
  test('writes them in the order of the images, and a data set reads them', async () => {
    const options = setup(captioned(7), BESIDE)
    const info = await prepareDataset(options)
    const expected = ordered(7).map(captionsOf)
    expect(info.captions).toMatchObject({ source: 'the .txt files beside the images', count: 13, withoutCaption: 0 })
    expect(info).toMatchObject({ classNames: ['class0', 'class1', 'class2'], ignored: { count: 0 } })
    const text = readFileSync(join(options.out, 'captions.json'), 'utf8')
    expect(JSON.parse(text)).toEqual({
      captions: expected.map((captions, i) => [`00000/img0000000${i}.png`, captions]),
    })
    expect(text.split('\n')).toHaveLength(1 + 7 + 2)
    const dataset = await Dataset.open(options.out)
    expect(dataset.captions).toEqual(expected)
    const maker = { name: 'm', latentChannels: 4, downsampling: 8, latentScale: 1, hasDeviations: true }
    expect(dataset.encoded(maker).captions).toBe(dataset.captions)
  })

  test('belong to the images that are read: those of damaged ones go', async () => {
    const files = { ...captioned(6), 'class0/003.png': 'damaged', 'class2/002.png': 'too' }
    const options = setup(files, { ...BESIDE, onCorrupt: 'skip' })
    const info = await prepareDataset(options)
    const left = [0, 1, 4, 5].map(captionsOf)
    expect(info).toMatchObject({ images: 4, captions: { count: left.flat().length } })
    expect((await Dataset.open(options.out)).captions).toEqual(left)
    // Once more, of the source and of what is there.
    const before = readFileSync(join(options.out, 'captions.json'), 'utf8')
    const { out } = options
    for (const again of [options, { out, source: out, captions: join(out, 'captions.json') }]) {
      expect(await prepareDataset(again)).toMatchObject({ images: 4, captions: info.captions })
      expect(readFileSync(join(out, 'captions.json'), 'utf8')).toBe(before)
    }
  })

  test('of the first images alone', async () => {
    const options = setup(captioned(6), { ...BESIDE, maxImages: 2 })
    rmSync(join(options.source, 'class2/005.txt'))
    expect(await prepareDataset(options)).toMatchObject({ images: 2, captions: { count: 2, withoutCaption: 0 } })
    expect((await Dataset.open(options.out)).captions).toEqual([captionsOf(0), captionsOf(3)])
  })

  test('of a file, which may know other images too', async () => {
    const options = setup(pictures(3))
    const file = join(options.source, '../c.jsonl')
    const row = (i: number) => `${JSON.stringify({ file_name: `00${i}.png`, captions: captionsOf(i) })}\n`
    writeFileSync(file, [3, 2, 1, 0].map(row).join(''))
    const said: string[] = []
    const info = await prepareDataset({ ...options, captions: file, onNotice: (sentence) => said.push(sentence) })
    expect(info.captions?.source).toBe(`'${file}'`)
    expect(said).toEqual([`'${file}' has captions of 1 image that are not among these.`])
    expect((await Dataset.open(options.out)).captions).toEqual([0, 1, 2].map(captionsOf))
  })

  test('of images without class folders, which labels are not asked of', async () => {
    const images = Object.entries(captioned(3)).map(([name, data]) => [name.replace(/.*\//, ''), data])
    const options = setup(Object.fromEntries(images), BESIDE)
    const { classNames, classCounts, notes } = await prepareDataset(options)
    expect({ classNames, classCounts }).toEqual({ classNames: undefined, classCounts: [3] })
    expect(notes).toEqual([
      `'${options.source}' has no class folders: every image is of class 0, as with \`unlabelled\`; captions need no labels.`,
    ])
    const dataset = await Dataset.open(options.out)
    expect([...dataset.labels]).toEqual([0, 0, 0])
    expect(dataset.captions).toEqual([0, 1, 2].map(captionsOf))
  })

  const lacking = { ...captioned(9), 'class0/003.txt': '\n', 'class1/004.txt': '' }

  test('refuses images without a caption before it writes anything, unless they are allowed', async () => {
    const options = setup(lacking, BESIDE)
    await expect(prepareDataset(options)).rejects.toThrow(
      `2 of the 9 images of '${options.source}' have no caption in the .txt files beside the images: 'class0/003.png', 'class1/004.png'. ` +
        'Give them one, or accept them by `allowMissingCaptions`: they then train on the empty caption.',
    )
    expect(existsSync(options.out)).toBe(false)
    const info = await prepareDataset({ ...options, allowMissingCaptions: true })
    expect(info.captions).toMatchObject({ count: 15, withoutCaption: 2 })
    expect((await Dataset.open(options.out)).captions!.slice(0, 4)).toEqual([
      captionsOf(0),
      [],
      captionsOf(6),
      captionsOf(1),
    ])
  })

  test.each<[string, Partial<PrepareOptions>, string]>([
    ['images of which none has a caption', {}, 'None of the 3 images of'],
    [
      'the same, though captions may be missing',
      { allowMissingCaptions: true },
      'has a caption in the files beside the images; check where',
    ],
    [
      'a column of captions without captions',
      { captions: undefined, captionColumn: 'x' },
      '`captionColumn` is of captions',
    ],
    [
      'missing captions without captions',
      { captions: undefined, allowMissingCaptions: true },
      '`allowMissingCaptions` is of captions, of which none',
    ],
    [
      'an archive to write',
      { out: 'x.zip' },
      "'x.zip' is an archive of one step's files, as the reference has it; captions, features and flips need a folder.",
    ],
  ])('refuses %s', async (_, change, message) => {
    await expect(prepareDataset({ ...setup(pictures(3), BESIDE), ...change })).rejects.toThrow(message)
  })

  test('where all that have a caption are damaged, says so', async () => {
    const files = { ...pictures(3), 'class0/000.png': 'damaged', 'class0/000.txt': 'x' }
    const options = setup(files, { ...BESIDE, onCorrupt: 'skip', allowMissingCaptions: true })
    await expect(prepareDataset(options)).rejects.toThrow('None of the images that could be read has a caption in')
  })
})

describe('captions of a set that is there', () => {
  /** What one call with captions leaves, and options for the same without. */
  async function whole(more: Partial<PrepareOptions> = {}) {
    const options = setup(captioned(8), more)
    const one = { ...options, ...BESIDE, out: `${options.out}-one` }
    const info = await prepareDataset(one)
    return { options, one, info, digest: folderDigest(one.out) }
  }

  test('are added by the call that made it, to the same files, and are there after every other step', async () => {
    const { options, one, info, digest } = await whole({ latents: blockMoments, features: [tokenMeans], flip: true })
    const { latents, features, flip, ...images } = options
    await prepareDataset(images)
    expect((await Dataset.open(options.out)).captions).toBeUndefined()
    await prepareDataset({ ...images, ...BESIDE })
    await prepareDataset({ ...images, latents, flip })
    expect(await prepareDataset({ ...images, source: options.out, features, flip })).toEqual(info)
    expect(folderDigest(options.out)).toEqual(digest)
    // Whoever asks for less, or the same again, gets what is there.
    expect(await prepareDataset(one)).toEqual(info)
    expect(folderDigest(one.out)).toEqual(digest)
  })

  test('are added to the images themselves, by their names there', async () => {
    const { options, digest } = await whole()
    await prepareDataset(options)
    const rows = ordered(8).map((i, place) => ({ file_name: `00000/img0000000${place}.png`, caption: captionsOf(i) }))
    const file = join(options.source, '../c.jsonl')
    writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'))
    await prepareDataset({ ...options, source: options.out, captions: file })
    expect(folderDigest(options.out)['captions.json']).toEqual(digest['captions.json'])
    expect((await Dataset.open(options.out)).captions).toEqual(ordered(8).map(captionsOf))
  })

  test('that another tool made: beside its images, and never over captions of which nothing is known', async () => {
    const out = await tinyDataset(2)
    for (const i of [0, 1]) writeFileSync(join(out, `images/00000/img0000000${i}.txt`), `caption ${i}`)
    const options = { source: out, out, size: 64, ...BESIDE }
    expect((await prepareDataset(options)).captions).toMatchObject({ count: 2 })
    expect((await Dataset.open(out)).captions).toEqual([['caption 0'], ['caption 1']])
    rmSync(join(out, 'dataset-info.json'))
    await expect(prepareDataset(options)).rejects.toThrow(
      `'${out}' has a captions.json of which it does not say where it comes from. Move it away to make another.`,
    )
  })

  test('are copied to a set of another size by its captions.json', async () => {
    const { one } = await whole()
    const small = { source: one.out, out: `${one.out}-small`, size: 8, captions: join(one.out, 'captions.json') }
    await prepareDataset(small)
    expect((await Dataset.open(small.out)).captions).toEqual((await Dataset.open(one.out)).captions)
  })

  test('are not changed for others', async () => {
    const { one, digest } = await whole()
    appendFileSync(join(one.source, 'class0/000.txt'), '\nanother')
    await expect(prepareDataset(one)).rejects.toThrow(
      `'${one.out}' holds a data set with other captions. Choose another folder, or remove this one.`,
    )
    expect(folderDigest(one.out)).toEqual(digest)
  })
})

describe('a preparation with captions that ends early', () => {
  test.each(['images', 'latents'] as const)('at its %s, goes on to the files of an unbroken one', async (step) => {
    const options = setup(captioned(150), { ...BESIDE, latents: blockMoments })
    const one = { ...options, out: `${options.out}-one` }
    await prepareDataset(one)
    const controller = new AbortController()
    const stopping = prepareDataset({
      ...options,
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.step === step && progress.done >= 64) controller.abort(new Error('interrupted'))
      },
    })
    await expect(stopping).rejects.toThrow('interrupted')
    expect(existsSync(join(options.out, 'prepare-journal.jsonl'))).toBe(true)
    // Killed after captions.json and before dataset-info.json says so.
    expect(existsSync(join(options.out, 'captions.json'))).toBe(step === 'latents')
    await expect(Dataset.open(options.out)).rejects.toThrow('is an unfinished preparation')
    for (const [captions, difference] of [
      [undefined, 'captions, where none are asked for now'],
      [writeOther(options), 'other captions'],
    ] as const) {
      await expect(prepareDataset({ ...options, captions })).rejects.toThrow(
        `'${options.out}' holds an unfinished preparation with ${difference}. Repeat the call that began it`,
      )
    }
    await prepareDataset(options)
    expect(folderDigest(options.out)).toEqual(folderDigest(one.out))
  })

  /** The file of other captions for the images. */
  function writeOther({ source }: { readonly source: string }): string {
    const file = join(source, '../other.jsonl')
    const rows = Object.keys(pictures(150)).map((file_name) => JSON.stringify({ file_name, text: 'other' }))
    writeFileSync(file, rows.join('\n'))
    return file
  }

  test('begun without captions does not go on with them', async () => {
    const options = setup({ ...captioned(3), 'class0/000.png': 'damaged' })
    await expect(prepareDataset(options)).rejects.toThrow('000.png')
    await expect(prepareDataset({ ...options, ...BESIDE, onCorrupt: 'skip' })).rejects.toThrow(
      'holds an unfinished preparation with no captions, where some are asked for now.',
    )
  })
})

test.each([2, 3])('%d processes leave the files of one', async (size) => {
  const options = setup(captioned(23), { ...BESIDE, latents: blockMoments, flip: true })
  const one = { ...options, out: `${options.out}-one` }
  const info = await prepareDataset(one)
  const ended = await together(size, (world) => prepareDataset({ ...options, world }))
  expect(ended).toEqual(Array(size).fill({ status: 'fulfilled', value: info }))
  expect(folderDigest(options.out)).toEqual(folderDigest(one.out))
})

test('processes all end where an image has no caption', async () => {
  const options = setup({ ...captioned(5), 'class0/003.txt': '' }, { ...BESIDE, latents: blockMoments })
  const ended = await together(3, (world) => prepareDataset({ ...options, world }))
  for (const one of ended) expect(one).toMatchObject({ status: 'rejected' })
  expect(String((ended[0] as PromiseRejectedResult).reason)).toContain("1 of the 5 images of '")
})

describe('Dataset.open of a set with captions', () => {
  const NAMES = ['00000/img00000000.png', '00000/img00000001.png']
  const entries = (...names: readonly string[]) => names.map((name, i) => [name, [`caption ${i}`]])

  test('takes them by the names, whatever their order and whoever wrote them', async () => {
    const out = await tinyDataset(2)
    writeFileSync(join(out, 'captions.json'), JSON.stringify({ captions: entries(...NAMES.toReversed()) }))
    expect((await Dataset.open(out)).captions).toEqual([['caption 1'], ['caption 0']])
  })

  test.each<[string, string, string]>([
    [
      'too few',
      JSON.stringify({ captions: entries(NAMES[1]!) }),
      "it has no entry for 1 of them ('00000/img00000000.png').",
    ],
    [
      'too many',
      JSON.stringify({ captions: entries(...NAMES, '00000/img00000002.png') }),
      "it names 1 that are not there ('00000/img00000002.png').",
    ],
    ['other images', JSON.stringify({ captions: entries(NAMES[0]!, 'x.png') }), 'it has no entry for 1 of them'],
    [
      'an image twice',
      JSON.stringify({ captions: entries(...NAMES, NAMES[0]!) }),
      "it names '00000/img00000000.png' twice.",
    ],
    [
      'a caption that is no text',
      JSON.stringify({ captions: [[NAMES[0], [7]]] }),
      "captions.json': at captions.0.1.0:",
    ],
    ['more than captions', JSON.stringify({ captions: [], model: 'x' }), "captions.json': at the top level:"],
    ['no JSON', '{"captions": [', "captions.json': it is not JSON ("],
  ])('refuses %s', async (_, text, message) => {
    const out = await tinyDataset(2)
    writeFileSync(join(out, 'captions.json'), text)
    await expect(Dataset.open(out)).rejects.toThrow(message)
  })

  test('leaves them where they are when they are not asked for', async () => {
    const out = await tinyDataset(2)
    writeFileSync(join(out, 'captions.json'), 'nobody reads this')
    expect((await Dataset.open(out, { captions: false })).captions).toBeUndefined()
  })

  test('refuses a set that has lost its captions', async () => {
    const options = setup(captioned(3), BESIDE)
    await prepareDataset(options)
    rmSync(join(options.out, 'captions.json'))
    await expect(Dataset.open(options.out)).rejects.toThrow(
      `'${options.out}' has no captions.json, of which its dataset-info.json speaks; copy it again or prepare it anew.`,
    )
  })
})

test.each([
  [true, [[], [], []]],
  [false, undefined],
  [undefined, undefined],
])('a data set that is described with captions %s', (captions, expected) => {
  const described = { path: '', length: 3, classes: 1, imageSize: 8, storedLatentShape: undefined, captions }
  expect(Dataset.described(described as Parameters<typeof Dataset.described>[0]).captions).toEqual(expected)
})
