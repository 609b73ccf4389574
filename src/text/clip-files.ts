/** The files that make a CLIP, or its text encoder alone: weights, the tokenizer beside them, and a config.json where there is one. */
import { dirname, join } from 'node:path'
import { configBeside } from '../formats/config-beside.ts'
import { filesDigest } from '../formats/file-digest.ts'
import { isThere } from '../formats/if-there.ts'
import { statusOf } from '../formats/path-status.ts'

export interface ClipFiles {
  readonly weights: string
  /** Where it belongs: see `requireTokenizer`. */
  readonly tokenizer: string
  readonly config: Awaited<ReturnType<typeof configBeside>>
}

/** What a folder's weights are called, the preferred format first. */
const FOLDER_WEIGHTS = ['model.safetensors', 'pytorch_model.bin'] as const

/**
 * Those that a path means which names a caption encoder, or what `what` calls it: a file of weights, or a folder with one.
 *
 * @throws {FileAccessError} where nothing is there; {Error} where it is a folder without weights; what reading config.json throws
 */
export async function clipFiles(path: string, what = 'caption encoder'): Promise<ClipFiles> {
  const weights = await weightsAt(path, what)
  return { weights, tokenizer: join(dirname(weights), 'tokenizer.json'), config: await configBeside(weights) }
}

/**
 * The file of the tokenizer.
 *
 * @throws {Error} where it is not there
 */
export async function requireTokenizer({ tokenizer }: ClipFiles): Promise<string> {
  if (await isThere(tokenizer)) return tokenizer
  throw new Error(
    `There is no ${tokenizer}: captions become tokens by the tokenizer.json of the weights' repository ` +
      '(openai/clip-vit-large-patch14, say), which belongs beside the weights.',
  )
}

/**
 * SHA-256, in hexadecimal, of all that the hidden states of captions depend on: weights, tokenizer and what a config.json states. `path` is as
 * `loadCaptionEncoder` takes it.
 *
 * @throws {FileAccessError} where nothing is there; {Error} where one of the files is not
 */
export async function captionEncoderDigest(path: string): Promise<string> {
  const files = await clipFiles(path)
  const { weights, config } = files
  return await filesDigest([weights, await requireTokenizer(files), ...(config ? [config.path] : [])])
}

async function weightsAt(path: string, what: string): Promise<string> {
  const found = await statusOf(
    path,
    `There is no ${what} ${path}: expected a file of CLIP's weights or a folder with one; name where it lies now.`,
  )
  if (!found.isDirectory()) return path
  for (const name of FOLDER_WEIGHTS) {
    const file = join(path, name)
    if (await isThere(file)) return file
  }
  throw new Error(
    `${path} holds no ${FOLDER_WEIGHTS.join(' or ')}, as a clone of openai/clip-vit-large-patch14 has them; name the file of the weights.`,
  )
}
