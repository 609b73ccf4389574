/** Which files a path means that names an autoencoder. */
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { configBeside } from '../formats/config-beside.ts'
import { filesDigest } from '../formats/file-digest.ts'
import { ifThere } from '../formats/if-there.ts'
import { STATISTICS_FILES, statisticsFileIn } from '../formats/latent-statistics.ts'
import { statusOf } from '../formats/path-status.ts'
import type { AutoencoderHalf } from './autoencoder-kl.ts'
import { type RaeFiles, raeFilesAmong } from './rae-weights.ts'

const WEIGHTS = ['.safetensors', '.bin', '.pt', '.pth', '.ckpt']
/** Of diffusers' files of weights, without an ending. */
export const DIFFUSERS_NAME = 'diffusion_pytorch_model'

/** The files of a RAE that a path means: those in its folder, or the file itself with the others of its folder. */
export async function raeFilesOf(path: string): Promise<RaeFiles | undefined> {
  const found = await ifThere(statusOf(path))
  if (!found) return undefined
  if (found.isDirectory()) {
    const names = await weightsIn(path)
    const diffusers = diffusersAmong(names, path)
    return raeFilesAmong((diffusers === undefined ? names : [diffusers]).map((name) => join(path, name)))
  }
  const own = await raeFilesAmong([path])
  if (!own || own.statistics !== undefined) return own
  const others = (await weightsIn(dirname(path))).filter((name) => name !== basename(path))
  return raeFilesAmong([path, ...others.map((name) => join(dirname(path), name))], path)
}

/** Files of weights in a folder, the preferred formats first. */
async function weightsIn(folder: string): Promise<string[]> {
  const rank = (name: string) => WEIGHTS.indexOf(extname(name).toLowerCase())
  const names = (await readdir(folder)).filter(
    (name) => rank(name) >= 0 && !(STATISTICS_FILES as readonly string[]).includes(name),
  )
  return names.sort((a, b) => rank(a) - rank(b))
}

/**
 * diffusers' file of weights in a folder, where it has one. Variants (`….fp16.safetensors`, `….non_ema.safetensors`) are other numbers than
 * the plain file's: one of them is taken where there is nothing else.
 *
 * @param names as `weightsIn` has them
 * @throws {Error} where several variants are there without the plain file, or weights in shards
 */
function diffusersAmong(names: readonly string[], folder: string): string | undefined {
  const own = names.filter((name) => name.startsWith(DIFFUSERS_NAME))
  const plain = own.find((name) => stemOf(name) === DIFFUSERS_NAME)
  if (plain !== undefined) return plain
  const shard = own.find((name) => /-\d+-of-\d+$/.test(stemOf(name)))
  if (shard !== undefined) {
    throw new Error(
      `${folder} holds weights in shards (${shard}), and an autoencoder is read from one file; save it again with a larger max_shard_size.`,
    )
  }
  const stems = own.map(stemOf)
  // The same variant in several formats is one.
  const variants = own.filter((name, i) => name.startsWith(`${DIFFUSERS_NAME}.`) && stems.indexOf(stems[i]!) === i)
  if (variants.length <= 1) return variants[0]
  throw new Error(
    `${folder} holds variants of the weights (${variants.sort().join(', ')}) and not ${DIFFUSERS_NAME}${WEIGHTS[0]}; ` +
      'name the file that is meant.',
  )
}

const stemOf = (name: string): string => basename(name, extname(name))

/** The files of weights that a path means: one, or TAESD's two. @throws {FileAccessError} where nothing is there */
export async function filesOf(path: string): Promise<string[]> {
  const missing = `There is no autoencoder ${path}: expected a file of weights or a folder with one.`
  const found = await statusOf(path, missing)
  if (!found.isDirectory()) {
    const other = counterpartOf(path)
    const isThere = other !== undefined && (await stat(other).catch(() => undefined)) !== undefined
    return isThere ? [path, other] : [path]
  }
  const names = await weightsIn(path)
  const diffusers = diffusersAmong(names, path)
  if (diffusers !== undefined) return [join(path, diffusers)]
  const pair = names.find((name) => counterpartOf(name) !== undefined && names.includes(counterpartOf(name)!))
  if (pair !== undefined) return [join(path, pair), join(path, counterpartOf(pair)!)]
  if (names.length === 1) return [join(path, names[0]!)]
  throw new Error(
    `${path} holds ${names.length === 0 ? 'no file' : 'several files'} of weights (${WEIGHTS.join(', ')}); name the autoencoder's file.`,
  )
}

/** The name of TAESD's other half. */
function counterpartOf(path: string): string | undefined {
  const name = basename(path)
  const other = name.includes('encoder')
    ? name.replace('encoder', 'decoder')
    : name.includes('decoder')
      ? name.replace('decoder', 'encoder')
      : undefined
  return other === undefined ? undefined : path.slice(0, path.length - name.length) + other
}

/**
 * SHA-256 over the files that an autoencoder is read from, wherever they lie: weights, config.json and the statistics of its latents.
 *
 * @param half of what is in files of halves, this one alone: the other may be put beside it later
 * @throws {FileAccessError} where nothing is at this path; {Error} where it is no autoencoder
 */
export async function autoencoderDigest(path: string, half?: AutoencoderHalf): Promise<string> {
  const rae = await raeFilesOf(path)
  const weights = rae
    ? [rae.decoder, rae.encoder, rae.statistics].filter((file) => file !== undefined)
    : await filesOf(path)
  const config = await configBeside(weights[0]!)
  const statistics = rae ? undefined : await statisticsFileIn(dirname(weights[0]!))
  const other = half && (rae ? otherOfRae(rae, half) : otherOfPair(weights, half))
  const files = [...weights.filter((file) => file !== other), config?.path, statistics]
  return await filesDigest(files.filter((file) => file !== undefined))
}

/** The file of the half that is not meant, where it has one. */
function otherOfRae({ decoder, encoder }: RaeFiles, half: AutoencoderHalf): string | undefined {
  if (decoder === encoder) return undefined
  return half === 'encoder' ? decoder : encoder
}

/** The same of TAESD's two files. */
function otherOfPair(files: readonly string[], half: AutoencoderHalf): string | undefined {
  if (files.length < 2) return undefined
  return files.find((file) => basename(file).includes('encoder') !== (half === 'encoder'))
}
