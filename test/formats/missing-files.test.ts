/** Whatever reads weights says in one class of error that the system would not give them, with the system's code. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { adoptCheckpoint } from '../../src/conversion/adopt.ts'
import { convert } from '../../src/conversion/convert.ts'
import { loadClip } from '../../src/evaluation/clip-model.ts'
import { FileAccessError } from '../../src/formats/errors.ts'
import { autoencoderDigest } from '../../src/models/autoencoder-files.ts'
import { loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { captionEncoderDigest } from '../../src/text/clip-files.ts'
import { loadCaptionEncoder } from '../../src/text/load-caption-encoder.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const NO_FILE = 'there is no such file or folder; check the path.'

describe.each<[name: string, read: (path: string) => Promise<unknown>, sentence: (path: string) => string]>([
  ['loadModel', (path) => loadModel(path), (path) => `${path}: ${NO_FILE}`],
  ['convert', (path) => convert(path, join(temporaryFolder(), 'out.safetensors')), (path) => `${path}: ${NO_FILE}`],
  ['adoptCheckpoint', (path) => adoptCheckpoint(path, join(temporaryFolder(), 'run')), (path) => `${path}: ${NO_FILE}`],
  [
    'loadAutoencoder',
    (path) => loadAutoencoder(path),
    (path) => `There is no autoencoder ${path}: expected a file of weights or a folder with one.`,
  ],
  [
    'autoencoderDigest',
    (path) => autoencoderDigest(path),
    (path) => `There is no autoencoder ${path}: expected a file of weights or a folder with one.`,
  ],
  [
    'loadCaptionEncoder',
    (path) => loadCaptionEncoder(path),
    (path) =>
      `There is no caption encoder ${path}: expected a file of CLIP's weights or a folder with one; name where it lies now.`,
  ],
  [
    'captionEncoderDigest',
    (path) => captionEncoderDigest(path),
    (path) =>
      `There is no caption encoder ${path}: expected a file of CLIP's weights or a folder with one; name where it lies now.`,
  ],
  [
    'loadClip',
    (path) => loadClip(path, { device: 'cpu' }),
    (path) =>
      `There is no CLIP ${path}: expected a file of CLIP's weights or a folder with one; name where it lies now.`,
  ],
  [
    'loadEncoder',
    (path) => loadEncoder('vit', path),
    (path) =>
      `There is no ${path}, which is to hold the weights of the encoder vit; repa pretrain-encoder writes it as RUN/encoder.safetensors. ` +
      'Give the path at which it lies.',
  ],
])('%s', (_, read, sentence) => {
  test('of a file that is not there', async () => {
    const path = join(temporaryFolder(), 'weights.safetensors')
    const refusal = await read(path).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(FileAccessError)
    expect(refusal).toMatchObject({ code: 'ENOENT', path, message: sentence(path) })
  })

  test('of a path that goes through a file', async () => {
    const file = join(temporaryFolder(), 'file')
    writeFileSync(file, '')
    const path = join(file, 'weights.safetensors')
    const refusal = await read(path).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(FileAccessError)
    expect(refusal).toMatchObject({
      code: 'ENOTDIR',
      message: `Cannot read ${path}: a part of the path is a file, and a folder is wanted (ENOTDIR).`,
    })
  })
})
