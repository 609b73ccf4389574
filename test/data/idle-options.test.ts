import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openImageSource } from '../../src/data/image-sources.ts'
import { type PrepareOptions, prepareDataset } from '../../src/data/prepare.ts'
import { rawTar } from '../formats/raw-tar.ts'
import { rawZip } from '../formats/raw-zip.ts'
import { folderDigest } from './folder-digest.ts'
import { pictures, setup, tokenMeans } from './preparing.ts'

describe('with the images of the set itself as the source', () => {
  /** A set of four images of 16 pixels. */
  async function there() {
    const { out, ...options } = setup(pictures(4))
    const info = await prepareDataset({ ...options, out })
    return { options: { out, source: out }, info }
  }

  const OPTIONS: readonly (readonly [string, Partial<PrepareOptions>])[] = [
    ['transform', { transform: 'center-crop' }],
    ['transform', { transform: 'center-crop-dhariwal' }],
    ['wideHeight', { wideHeight: 9 }],
    ['maxImages', { maxImages: 2 }],
    ["onCorrupt: 'skip'", { onCorrupt: 'skip' }],
    ['unlabelled', { unlabelled: true }],
    ['allowEmptyClasses', { allowEmptyClasses: true }],
    ['imageColumn', { imageColumn: 'picture' }],
    ['labelColumn', { labelColumn: 'class' }],
  ]
  test.each(OPTIONS)('%s is refused: %j', async (option, change) => {
    const { options } = await there()
    const before = folderDigest(options.out)
    for (const source of [options.out, join(options.out, 'images')]) {
      await expect(prepareDataset({ ...options, ...change, source, features: [tokenMeans] })).rejects.toThrow(
        `\`${option}\` says how images are made of a source, and those in '${join(options.out, 'images')}' are there already and stay as ` +
          'they are; leave it out, or prepare their source anew into another folder.',
      )
    }
    expect(folderDigest(options.out)).toEqual(before)
  })

  test('another size than theirs is refused, and theirs may be said', async () => {
    const { options, info } = await there()
    await expect(prepareDataset({ ...options, size: 256, features: [tokenMeans] })).rejects.toThrow(
      `The images in '${join(options.out, 'images')}' are there already, 16 pixels wide, not 256 (\`size\`); leave it out, or prepare ` +
        'their source anew into another folder.',
    )
    expect(await prepareDataset({ ...options, size: 16 })).toEqual(info)
    // And what a command has for defaults.
    const defaults = { onCorrupt: 'fail', unlabelled: false, allowEmptyClasses: false, transform: undefined } as const
    expect(await prepareDataset({ ...options, ...defaults, size: undefined })).toEqual(info)
  })
})

test('without a size or a transform images are made as the reference makes them', async () => {
  const { size: _, ...options } = setup(pictures(1))
  expect(await prepareDataset(options)).toMatchObject({
    settings: { size: 256, transform: 'center-crop-dhariwal', wideHeight: 256 },
  })
})

describe('columns of what has none', () => {
  const files = Object.entries(pictures(4)).map(([name, data]) => ({ name, data }))
  const SOURCES: readonly (readonly [string, (folder: string) => string])[] = [
    ['a folder', (folder) => folder],
    ['a zip', (folder) => written(`${folder}.zip`, rawZip(files))],
    ['a tar', (folder) => written(`${folder}.tar`, rawTar(files))],
  ]
  const written = (path: string, bytes: Uint8Array) => {
    writeFileSync(path, bytes)
    return path
  }

  test.each(
    SOURCES.flatMap(([what, place]) =>
      (['imageColumn', 'labelColumn'] as const).map((option) => [option, what, place] as const),
    ),
  )('%s is refused of %s', async (option, _, place) => {
    const options = setup(pictures(4))
    const source = place(options.source)
    const sentence = `\`${option}\` names a column of parquet files, of which '${source}' has none; leave it out.`
    await expect(openImageSource(source, { [option]: 'x' })).rejects.toThrow(sentence)
    await expect(prepareDataset({ ...options, source, [option]: 'x' })).rejects.toThrow(sentence)
    expect(existsSync(options.out)).toBe(false)
  })
})

test.each<[Partial<PrepareOptions>, string]>([
  [
    { featurePatch: 4 },
    '`featurePatch` 4 is of features that are kept, of which none are asked for; add `features`, or leave it out.',
  ],
  [
    { labelColumn: 'class', unlabelled: true },
    '`labelColumn` class names the column of labels, and `unlabelled` asks for none; leave one of them out.',
  ],
])('%j is refused', async (change, sentence) => {
  const options = setup(pictures(1), change)
  await expect(prepareDataset(options)).rejects.toThrow(sentence)
  expect(existsSync(options.out)).toBe(false)
})
