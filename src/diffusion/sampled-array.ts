/** An array of all images that several processes sample: each has the images of a range, process 0 the first. */
import { createReadStream } from 'node:fs'
import { type FileHandle, open, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { World } from '../distributed/world.ts'
import { FileAccessError } from '../formats/errors.ts'
import { type NpzArrayWriter, NpzWriter } from '../formats/npz.ts'

export interface SampledArray {
  /** The next images of this process. */
  append(data: Uint8Array): Promise<void>
  /** This process has no more. */
  end(): Promise<void>
  /** After the ends of all processes: the file is whole. */
  close(): Promise<void>
  /** Removes what was written. */
  abort(): Promise<void>
}

/** An array in an npz file of its own: in the end process 0 takes in what the others have put beside it. */
export async function createSampledArray(
  path: string,
  array: { readonly name: string; readonly dtype: 'u8' | 'f32'; readonly shape: readonly number[] },
  { rank, size }: World,
): Promise<SampledArray> {
  const parts = Array.from({ length: size - 1 }, (_, i) => `${path}.part-${i + 1}`)
  if (rank > 0) return new PartFile(parts[rank - 1]!, await open(parts[rank - 1]!, 'w'))
  const file = await NpzWriter.create(path)
  try {
    await removePartsFrom(path, size)
    return new ArrayFile(file, await file.open(array.name, array.dtype, array.shape), parts)
  } catch (error) {
    await file.abort()
    throw error
  }
}

/** Removes what killed processes have left of an array, from a number on: those below it write over theirs. */
async function removePartsFrom(path: string, begin: number): Promise<void> {
  const prefix = `${basename(path)}.part-`
  const names = (await readdir(dirname(path))).filter((name) => {
    const number = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    return /^\d+$/.test(number) && Number(number) >= begin
  })
  for (const name of names) await rm(join(dirname(path), name), { force: true })
}

class ArrayFile implements SampledArray {
  readonly #file: NpzWriter
  readonly #array: NpzArrayWriter
  readonly #parts: readonly string[]

  constructor(file: NpzWriter, array: NpzArrayWriter, parts: readonly string[]) {
    this.#file = file
    this.#array = array
    this.#parts = parts
  }

  append(data: Uint8Array): Promise<void> {
    return this.#array.append(data)
  }

  async end(): Promise<void> {}

  async close(): Promise<void> {
    for (const part of this.#parts) {
      for await (const chunk of createReadStream(part) as AsyncIterable<Buffer>) await this.#array.append(chunk)
      await rm(part)
    }
    await this.#array.close()
    await this.#file.close()
  }

  async abort(): Promise<void> {
    await this.#file.abort()
    // Of processes that were killed.
    for (const part of this.#parts) await rm(part, { force: true })
  }
}

class PartFile implements SampledArray {
  readonly #path: string
  readonly #file: FileHandle

  constructor(path: string, file: FileHandle) {
    this.#path = path
    this.#file = file
  }

  async append(data: Uint8Array): Promise<void> {
    try {
      await this.#file.appendFile(data)
    } catch (error) {
      throw new FileAccessError('write', this.#path, error)
    }
  }

  end(): Promise<void> {
    return this.#file.close()
  }

  async close(): Promise<void> {}

  async abort(): Promise<void> {
    await this.#file.close()
    await rm(this.#path, { force: true })
  }
}
