import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { listDataset } from '../../src/data/dataset-listing.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

const IMAGES = { 'a/1.png': 'a', 'b/1.png': 'b' }

/** A folder of images, and in it links that point to nothing. */
function withLinks(links: readonly string[], files: Readonly<Record<string, string>> = IMAGES): string {
  const root = temporaryFolder()
  writeTree(root, files)
  for (const name of links) symlinkSync('nowhere', join(root, name))
  return root
}

/** Writes files whose names are in Latin-1, as those of old archives and disks are. */
function writeLatin1(root: string, names: readonly string[]): void {
  for (const name of names) {
    const path = Buffer.from(join(root, name), 'latin1')
    mkdirSync(path.subarray(0, path.lastIndexOf('/')), { recursive: true })
    writeFileSync(path, 'x')
  }
}

describe('a link in a folder of images that points to nothing', () => {
  test('is left out and counted where it is no image', async () => {
    const root = withLinks(['b/x.txt', 'b/.hidden', 'b/.x.png'])
    symlinkSync('loop.txt', join(root, 'b/loop.txt'))
    symlinkSync('1.png/2', join(root, 'b/below-a-file.txt'))
    const source = await openImageSource(root)
    expect(source.images.map(({ name }) => name)).toEqual(['a/1.png', 'b/1.png'])
    expect(source.ignored).toEqual(['b/.hidden', 'b/.x.png', 'b/below-a-file.txt', 'b/loop.txt', 'b/x.txt'])
  })

  test.each<[string, readonly string[], string]>([
    ['an image', ['b/2.png', 'b/3.txt'], "holds 1 links that point to nothing: 'b/2.png'. Mend or remove them."],
    ['a folder of a class, by its name', ['c'], "holds 1 links that point to nothing: 'c'. Mend or remove them."],
    ['the labels', ['dataset.json'], "dataset.json' is a link that points to nothing. Mend or remove it."],
  ])('is refused by its name where it stands for %s', async (_, links, message) => {
    const root = withLinks(links)
    await expect(openImageSource(root)).rejects.toThrow(message)
    await expect(openImageSource(root)).rejects.toThrow(`'${root}`)
  })

  test('is refused where it stands for the captions of an image', async () => {
    const root = withLinks(['a/1.txt'], { ...IMAGES, 'b/1.txt': 'a cup' })
    await expect(openImageSource(root, { captions: 'beside' })).rejects.toThrow(
      `'${join(root, 'a/1.txt')}' is a link that points to nothing. Mend or remove it.`,
    )
    await (await openImageSource(root)).close()
  })

  test('is refused where it stands for the only image, or for an archive', async () => {
    await expect(openImageSource(withLinks(['1.png'], {}))).rejects.toThrow("that point to nothing: '1.png'")
    await expect(openImageSource(withLinks(['1.tar'], {}))).rejects.toThrow("that point to nothing: '1.tar'")
  })

  test('is refused where it stands for an image of a prepared set', async () => {
    const images = { 'images/00000/img00000000.png': '', 'images/dataset.json': '{"labels": null}' }
    await expect(listDataset(withLinks(['images/00000/img00000001.png'], images))).rejects.toThrow(
      "images' holds 1 links that point to nothing: '00000/img00000001.png'. Mend or remove them.",
    )
  })
})

// Other systems' file systems hold no such names.
describe.skipIf(process.platform !== 'linux')('a name in a folder of images that is not UTF-8', () => {
  test('matters not where it is no image', async () => {
    const root = temporaryFolder()
    writeTree(root, { 'é/1.png': 'e', 'b/1.png': 'b' })
    writeLatin1(root, ['b/caf\xe9.txt', 'b/.caf\xe9.png'])
    const source = await openImageSource(root)
    expect(source.images.map(({ name }) => name)).toEqual(['b/1.png', 'é/1.png'])
    expect(source.ignored).toEqual(['b/.caf\\xe9.png', 'b/caf\\xe9.txt'])
    expect(Buffer.from(await source.read(source.images[1]!)).toString()).toBe('e')
  })

  test.each([
    ['an image', ['b/caf\xe9.png'], "holds 1 names that are not UTF-8: 'b/caf\\xe9.png'. Rename them"],
    [
      'a folder',
      ['caf\xe9/1.png', 'caf\xe9/caf\xe8/2.png'],
      "holds 2 names that are not UTF-8: 'caf\\xe9/1.png', 'caf\\xe9/caf\\xe8/2.png'. Rename them, for example by " +
        'convmv -r -f latin1 -t utf8 --notest.',
    ],
  ])('is refused where it is that of %s', async (_, names, message) => {
    const root = temporaryFolder()
    writeTree(root, IMAGES)
    writeLatin1(root, names)
    await expect(openImageSource(root)).rejects.toThrow(message)
  })
})
