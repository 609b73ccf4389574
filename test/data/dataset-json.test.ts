import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { labelsBy, parseDatasetJson } from '../../src/data/dataset-json.ts'
import { listDataset, listImages } from '../../src/data/dataset-listing.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { rawTar } from '../formats/raw-tar.ts'
import { rawZip } from '../formats/raw-zip.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

const IMAGES = ['00000/img00000000.png', '00000/img00000001.png']
const JSON_TEXT = JSON.stringify({ labels: IMAGES.map((name, i) => [name, 3 + i]) })

// RFC 8259, 8.1: a parser may ignore it. Editors of Windows write it.
const WITH_MARK: Readonly<Record<string, string>> = {
  ...Object.fromEntries(IMAGES.map((name) => [name, name])),
  'dataset.json': `\ufeff${JSON_TEXT}`,
}

/** Places the files as a folder, a zip or a tar archive. */
function place(kind: string): string {
  const folder = temporaryFolder()
  if (kind === 'folder') {
    writeTree(folder, WITH_MARK)
    return folder
  }
  const path = join(folder, `a.${kind}`)
  const members = Object.entries(WITH_MARK).map(([name, data]) => ({ name, data: Buffer.from(data) }))
  writeFileSync(path, kind === 'zip' ? rawZip(members) : rawTar(members))
  return path
}

describe('a dataset.json that begins with a byte order mark', () => {
  test.each(['folder', 'zip', 'tar'])('labels the images of a %s', async (kind) => {
    const source = await openImageSource(place(kind))
    await source.close()
    expect(source.images.map(({ name, label }) => [name, label])).toEqual(IMAGES.map((name, i) => [name, 3 + i]))
  })

  test('labels the images of a prepared set', async () => {
    const root = temporaryFolder()
    writeTree(root, Object.fromEntries(Object.entries(WITH_MARK).map(([name, text]) => [`images/${name}`, text])))
    expect((await listImages(root)).labels).toEqual([3, 4])
    expect([...(await listDataset(root)).labels]).toEqual([3, 4])
  })
})

test.each([
  ['what is no JSON', '{', /^Cannot read 'dataset\.json': it is not JSON \(.+\)\.$/],
  ['two marks', `\ufeff\ufeff${JSON_TEXT}`, /^Cannot read 'dataset\.json': it is not JSON \(.+\)\.$/],
  ['a label that is none', '{"labels": [["a.png", 0.5]]}', /^Cannot read 'dataset\.json': at labels\.0\.1: .+\.$/],
])('refuses %s', (_, text, message) => {
  expect(() => parseDatasetJson(text, 'dataset.json')).toThrow(message)
})

test('of an image with two labels the file that had the other last is named', () => {
  const labels = [
    ['1.png', 0],
    ['01.png', 0],
    ['2.png', 1],
    ['001.png', 3],
  ] as const
  const byNumber = (name: string): number => Number.parseInt(name, 10)
  expect(() => labelsBy(labels, 'a.json', byNumber)).toThrow(
    "'a.json' gives '001.png' the label 3 and '01.png', which is the same image, the label 0.",
  )
  expect([...labelsBy(labels.slice(0, 3), 'a.json', byNumber)]).toEqual([
    [1, 0],
    [2, 1],
  ])
})
