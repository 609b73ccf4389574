import { mkdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { autoencoderDigest, filesOf, raeFilesOf } from '../../src/models/autoencoder-files.ts'
import type { AutoencoderHalf } from '../../src/models/autoencoder-kl.ts'
import { writeNarrowTaesd } from '../end-to-end/narrow-taesd.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { authorsDecoder, authorsEncoder, authorsStatistics, diffusersWhole, type State } from './rae-files.ts'

/** diffusers' name of an autoencoder's weights, with what follows it. */
const weights = (...endings: readonly string[]) => endings.map((ending) => `diffusion_pytorch_model${ending}`)

/** A folder of files of these names, each with its name in it. */
function listing(names: readonly string[]): string {
  const folder = join(temporaryFolder(), 'vae')
  mkdirSync(folder)
  writeTree(folder, Object.fromEntries(names.map((name) => [name, name])))
  return folder
}

describe('the weights in a folder', () => {
  test.each<{ names: readonly string[]; chosen: readonly string[] }>([
    { names: weights('.safetensors'), chosen: weights('.safetensors') },
    { names: weights('.bin', '.safetensors'), chosen: weights('.safetensors') },
    { names: weights('.fp16.safetensors', '.safetensors'), chosen: weights('.safetensors') },
    { names: weights('.non_ema.safetensors', '.fp16.safetensors', '.bin'), chosen: weights('.bin') },
    { names: weights('.fp16.bin', '.fp16.safetensors'), chosen: weights('.fp16.safetensors') },
    { names: [...weights('.fp16.safetensors'), 'config.json', 'vae.pt'], chosen: weights('.fp16.safetensors') },
    { names: ['vae.pt', 'config.json', 'latents_stats.pt'], chosen: ['vae.pt'] },
    {
      names: ['taesd_decoder.safetensors', 'taesd_encoder.safetensors', 'notes.txt'],
      chosen: ['taesd_decoder.safetensors', 'taesd_encoder.safetensors'],
    },
  ])('$names: $chosen', async ({ names, chosen }) => {
    const files = await filesOf(listing(names))
    expect(files.map((file) => basename(file)).sort()).toEqual(chosen)
  })

  test.each<{ names: readonly string[]; sentence: string }>([
    {
      names: weights('.non_ema.safetensors', '.fp16.safetensors', '.fp16.bin'),
      sentence:
        'holds variants of the weights (diffusion_pytorch_model.fp16.safetensors, diffusion_pytorch_model.non_ema.safetensors) ' +
        'and not diffusion_pytorch_model.safetensors; name the file that is meant.',
    },
    {
      names: weights('-00001-of-00002.safetensors', '-00002-of-00002.safetensors', '.safetensors.index.json'),
      sentence:
        'holds weights in shards (diffusion_pytorch_model-00001-of-00002.safetensors), and an autoencoder is read from one file; ' +
        'save it again with a larger max_shard_size.',
    },
    {
      names: weights('.fp16-00001-of-00002.safetensors', '.fp16-00002-of-00002.safetensors'),
      sentence: 'holds weights in shards (diffusion_pytorch_model.fp16-00001-of-00002.safetensors)',
    },
    { names: ['a.pt', 'b.pt'], sentence: 'holds several files of weights (.safetensors, .bin, .pt, .pth, .ckpt)' },
    { names: ['config.json'], sentence: 'holds no file of weights' },
  ])('$names: refused', async ({ names, sentence }) => {
    const folder = listing(names)
    await expect(filesOf(folder)).rejects.toThrow(`${folder} ${sentence}`)
  })

  test('a RAE beside a variant of it is the plain file, whichever the folder lists first', async () => {
    const folder = listing(weights('.fp16.safetensors', '.zz.safetensors'))
    const [plain] = weights('.safetensors').map((name) => join(folder, name))
    await writeSafetensors(
      plain!,
      [...diffusersWhole()].map(([name, tensor]) => ({ name, ...tensor })),
    )
    expect(await raeFilesOf(folder)).toEqual({ decoder: plain, encoder: plain, statistics: plain })
  })
})

describe('the digest of an autoencoder', () => {
  test("of the encoder's half is not of TAESD's decoder, which may come later", async () => {
    const folder = temporaryFolder()
    await writeNarrowTaesd(folder)
    const [encoder, decoder] = ['encoder', 'decoder'].map((half) => join(folder, `taesd_${half}.safetensors`))
    const [both, half] = [await autoencoderDigest(encoder!), await autoencoderDigest(encoder!, 'encoder')]
    expect(half).not.toBe(both)
    expect([await autoencoderDigest(folder), await autoencoderDigest(folder, 'encoder')]).toEqual([both, half])
    rmSync(decoder!)
    expect([await autoencoderDigest(folder), await autoencoderDigest(folder, 'encoder')]).toEqual([half, half])
    await writeNarrowTaesd(folder, 2)
    expect(await autoencoderDigest(folder, 'encoder')).not.toBe(half)
  })

  test("of a RAE in its authors' files is of the half that is meant, and of one file of all of it", async () => {
    const [parts, whole] = [temporaryFolder(), temporaryFolder()]
    const write = (path: string, state: State) =>
      writeSafetensors(
        path,
        [...state].map(([name, tensor]) => ({ name, ...tensor })),
      )
    await write(join(parts, 'decoder.safetensors'), authorsDecoder())
    await write(join(parts, 'encoder.safetensors'), authorsEncoder())
    await write(join(parts, 'stat.safetensors'), authorsStatistics())
    await write(join(whole, 'diffusion_pytorch_model.safetensors'), diffusersWhole())
    const digests = (folder: string) =>
      Promise.all([undefined, 'encoder', 'decoder'].map((half) => autoencoderDigest(folder, half as AutoencoderHalf)))
    expect(new Set(await digests(parts)).size).toBe(3)
    expect(new Set(await digests(whole)).size).toBe(1)
  })
})
