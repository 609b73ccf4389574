import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { folderDigest } from '../../data/folder-digest.ts'
import { writeNarrowTaesd } from '../../end-to-end/narrow-taesd.ts'
import { writeShapesZip } from '../../end-to-end/shapes-zip.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

async function prepare(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const { signal } = new AbortController()
  const status = await dispatch(['prepare', ...words], { stdout, stderr, env: {}, signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

/** An archive of six images of 128 pixels, and a folder to prepare them in. */
async function shapes() {
  const folder = temporaryFolder()
  const source = join(folder, 'shapes.zip')
  await writeShapesZip(source, { perClass: 2, size: 128 })
  return { folder, source, out: join(folder, 'data') }
}

test('help says what images are made of where nothing is said', async () => {
  const { stdout } = await prepare('--help')
  expect(stdout).toMatch(/--size N +side of the square images in pixels \[256\]\n/)
  expect(stdout).toMatch(/how images become square\s+\[center-crop-dhariwal\]\n/)
})

test('with DATA as its own source no size is asked for, and another than its own is refused', async () => {
  const { source, out } = await shapes()
  expect(await prepare(source, '--out', out, '--size', '32', '--quiet')).toMatchObject({ status: 0 })
  expect(await prepare(out, '--out', out, '--features', 'hog', '--quiet')).toMatchObject({ status: 0 })
  const { status, stderr } = await prepare(out, '--out', out, '--features', 'hog', '--size', '256')
  expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining('32 pixels wide, not 256') })
})

test.each([
  ['1', /^The first image is of 1 of 3 classes; .*\n(.*\n)*.*: 1 image of 16 x 16 in 1 of 3 classes\n$/],
  ['4', /^The first 4 images are of 2 of 3 classes; .*\n(.*\n)*.*: 4 images of 16 x 16 in 2 of 3 classes\n$/],
  ['5', /^(?!The first).*\n(.*\n)*.*: 5 images of 16 x 16 in 3 classes\n$/],
])('the first %s images, by class, are not more classes than they are', async (count, stderr) => {
  const { source, out } = await shapes()
  const words = ['--size', '16', '--max-images', count]
  expect(await prepare(source, '--out', out, ...words)).toMatchObject({
    status: 0,
    stderr: expect.stringMatching(stderr),
  })
})

test.each([
  [
    ['--autoencoder-tile', '16'],
    2,
    '--autoencoder-tile 16 is of an autoencoder, of which none is named; add --autoencoder, or leave it out.',
  ],
  [
    ['--feature-patch', '4'],
    1,
    '--feature-patch 4 is of features that are kept, of which none are asked for; add --features, or leave it out.',
  ],
])('%j alone is refused', async (words, status, sentence) => {
  const { source, out } = await shapes()
  expect(await prepare(source, '--out', out, ...words)).toEqual({
    status,
    stdout: '',
    stderr: `repa prepare: ${sentence}\n`,
  })
})

describe('latents by TAESD, whose name is always the same', () => {
  async function encoded() {
    const { folder, source, out } = await shapes()
    await writeNarrowTaesd(folder)
    const encoder = join(folder, 'taesd_encoder.safetensors')
    const words = [source, '--out', out, '--size', '128', '--autoencoder', encoder, '--quiet']
    expect(await prepare(...words)).toEqual({ status: 0, stdout: '', stderr: '' })
    return { folder, out, words }
  }

  test('are not mixed with those of other weights or tiles', async () => {
    const { folder, out, words } = await encoded()
    const before = folderDigest(out)
    // Latents of 16 elements a side are made at once by tiles of 16.
    const tiled = (tile: number) => prepare(...words, '--autoencoder-tile', String(tile))
    expect(await tiled(16)).toMatchObject({ status: 0, stderr: '' })
    expect(await tiled(8)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(
        'latents {"encoder":"taesd","shape":[8,16,16],"scale":1}, not {"encoder":"taesd","tile":8,',
      ),
    })
    await writeNarrowTaesd(folder, 2)
    for (const more of [[], ['--flip']]) {
      expect(await prepare(...words, ...more)).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(
          /holds a data set with latents by other weights of 'taesd' \(SHA-256 [0-9a-f]{12}…, and as asked for [0-9a-f]{12}…\)\. /,
        ),
      })
    }
    expect(folderDigest(out)).toEqual(before)
  })

  test('go on where the decoder has gone, which made none of them', async () => {
    const { folder, words } = await encoded()
    rmSync(join(folder, 'taesd_decoder.safetensors'))
    expect(await prepare(...words, '--flip')).toEqual({ status: 0, stdout: '', stderr: '' })
  })

  test('of a set that an older version made go on with a notice', async () => {
    const { out, words } = await encoded()
    const file = join(out, 'dataset-info.json')
    const { latents, ...info } = JSON.parse(readFileSync(file, 'utf8'))
    const { weights, ...named } = latents
    expect(weights).toMatch(/^[0-9a-f]{64}$/)
    writeFileSync(file, JSON.stringify({ ...info, latents: named }))
    const { status, stderr } = await prepare(...words.slice(0, -1), '--flip')
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/^'.*data' records the autoencoder of its latents by name alone, 'taesd': /m),
    })
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ flip: true, latents: named })
    expect(JSON.parse(readFileSync(file, 'utf8')).latents).not.toHaveProperty('weights')
  })
})
