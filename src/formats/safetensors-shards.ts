import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import * as z from 'zod'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { FileAccessError, FileFormatError } from './errors.ts'
import { type SafetensorsEntry, SafetensorsFile } from './safetensors.ts'

/** The tensors of one file, or of all shards of an index. */
export type SafetensorsTensors = Pick<SafetensorsFile, 'path' | 'metadata' | 'tensors' | 'read' | 'pieces' | 'close'>

const FILE = '.safetensors'
const INDEX = '.safetensors.index.json'

/** What save_pretrained writes beside shards; what else it notes (the bytes of all) is of no interest. */
const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

/** Whether a path names a file of tensors or an index of shards. */
export const isSafetensors = (path: string): boolean => path.toLowerCase().endsWith(FILE) || isShardIndex(path)

export const isShardIndex = (path: string): boolean => path.toLowerCase().endsWith(INDEX)

/** What a shard's name says, as `model-00001-of-00006.safetensors`: how many there are, and the name of their index. */
export function shardOf(path: string): { readonly count: number; readonly index: string } | undefined {
  const [, stem, count] = /^(.+)-\d{5}-of-(\d{5})\.safetensors$/i.exec(basename(path)) ?? []
  return count === undefined || Number(count) < 2 ? undefined : { count: Number(count), index: `${stem}${INDEX}` }
}

/**
 * Opens a file of tensors, or by `model.safetensors.index.json` the shards that lie beside it, as the Transformers library writes what is too
 * large for one file.
 *
 * @throws FileFormatError, FileAccessError; the former too where a shard lacks a tensor that the index says it has
 */
export async function openSafetensors(path: string): Promise<SafetensorsTensors> {
  return isShardIndex(path) ? SafetensorsShards.open(path) : SafetensorsFile.open(path)
}

/**
 * Where an index says that each tensor lies.
 *
 * @throws FileFormatError where it is none, or names a shard that does not lie beside it
 */
export async function readShardIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const places = new Map<string, string>()
  for (const [name, shard] of Object.entries(await weightMapOf(path))) {
    if (shard !== basename(shard) || !shard.toLowerCase().endsWith(FILE)) {
      throw new FileFormatError(
        path,
        `the tensor ${JSON.stringify(name)} is said to lie in ${JSON.stringify(shard)}; expected the name of a ${FILE} file beside the index.`,
      )
    }
    places.set(name, join(dirname(path), shard))
  }
  return places
}

async function weightMapOf(path: string): Promise<Readonly<Record<string, string>>> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new FileAccessError('read', path, error)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new FileFormatError(path, `the index of shards is not valid JSON (${(error as Error).message}).`)
  }
  const parsed = indexSchema.safeParse(json)
  if (parsed.success) return parsed.data.weight_map
  throw new FileFormatError(path, 'the index of shards has no "weight_map" of the file in which each tensor lies.')
}

class SafetensorsShards implements SafetensorsTensors {
  readonly path: string
  /** A shard's own is of the library that wrote it. */
  readonly metadata = Object.freeze({})
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>
  readonly #places: ReadonlyMap<string, SafetensorsFile>

  private constructor(path: string, places: ReadonlyMap<string, SafetensorsFile>) {
    this.path = path
    this.#places = places
    this.tensors = new Map([...places].map(([name, file]) => [name, file.tensors.get(name)!]))
  }

  static async open(path: string): Promise<SafetensorsShards> {
    const paths = await readShardIndex(path)
    const opened = new Map<string, SafetensorsFile>()
    try {
      for (const shard of new Set(paths.values())) opened.set(shard, await SafetensorsFile.open(shard))
      const places = new Map<string, SafetensorsFile>()
      for (const [name, shard] of paths) {
        const file = opened.get(shard)!
        if (!file.tensors.has(name)) {
          throw new FileFormatError(
            path,
            `the tensor ${JSON.stringify(name)} is said to lie in ${basename(shard)}, which has none of that name.`,
          )
        }
        places.set(name, file)
      }
      return new SafetensorsShards(path, places)
    } catch (error) {
      await Promise.all([...opened.values()].map((file) => file.close()))
      throw error
    }
  }

  async read(name: string): Promise<HostTensor> {
    return this.#fileOf(name).read(name)
  }

  pieces(name: string): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#fileOf(name).pieces(name)
  }

  async close(): Promise<void> {
    await Promise.all([...new Set(this.#places.values())].map((file) => file.close()))
  }

  #fileOf(name: string): SafetensorsFile {
    const file = this.#places.get(name)
    if (file === undefined) throw new FileFormatError(this.path, `there is no tensor ${JSON.stringify(name)}.`)
    return file
  }
}
