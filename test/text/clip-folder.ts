import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { clipTextWeights } from '../models/clip-text-weights.ts'
import { transformersTower } from './clip-files.ts'
import { TOKENS, tokenizerJson } from './tokenizer-file.ts'

export interface ClipFolder {
  /** Of a caption. Default: as CLIP's. */
  readonly tokens?: number
  /** A multiple of 64. */
  readonly hidden?: number
  /** Others have other weights. */
  readonly seed?: number
}

/** A small CLIP of one block in a folder, as a clone of its repository is: model.safetensors and tokenizer.json. Returns the folder. */
export async function writeClipFolder(
  folder: string,
  { tokens = 77, hidden = 64, seed = 100 }: ClipFolder = {},
): Promise<string> {
  const sizes = { vocabulary: TOKENS.length, tokens, hidden, depth: 1, ffnWidth: 4 * hidden }
  const tensors = transformersTower(clipTextWeights(sizes, seed))
  await mkdir(folder, { recursive: true })
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    [...tensors].map(([name, tensor]) => ({ name, ...tensor })),
  )
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson()))
  return folder
}
