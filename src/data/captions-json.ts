import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { LAYOUT } from './dataset-info.ts'
import { parseJson } from './dataset-json.ts'
import { listNames } from './name-list.ts'

/** The file that holds a prepared set's captions: for each image, named relative to `images/`, none, one or several. */
export const captionsJson = z.strictObject({
  captions: z.array(z.tuple([z.string().min(1), z.array(z.string())])),
})

/** A line an image, for people and for what compares versions. */
export function formatCaptionsJson(
  captions: readonly (readonly [name: string, captions: readonly string[]])[],
): string {
  return `{"captions": [\n${captions.map((entry) => JSON.stringify(entry)).join(',\n')}\n]}\n`
}

/**
 * The captions of a prepared set.
 *
 * @param images its images' names, relative to `images/`, in their order
 * @returns in the same order
 * @throws {Error} where the file is damaged, or is not of these images
 */
export async function readCaptions(path: string, images: readonly string[]): Promise<readonly (readonly string[])[]> {
  const file = join(path, LAYOUT.captions)
  const { captions } = parseJson(captionsJson, await readFile(file, 'utf8'), file)
  // As it is written: without a table of names, which takes as long as parsing the file.
  if (captions.length === images.length && captions.every(([name], i) => name === images[i])) {
    return captions.map(([, own]) => own)
  }
  const byName = new Map(captions)
  const refuse = (problem: string): never => {
    throw new Error(`'${file}' does not belong to the images of '${path}': ${problem}.`)
  }
  if (byName.size < captions.length) {
    const seen = new Set<string>()
    const twice = captions.find(([name]) => seen.size === seen.add(name).size)!
    refuse(`it names '${twice[0]}' twice`)
  }
  const without = images.filter((name) => !byName.has(name))
  if (without.length > 0) refuse(`it has no entry for ${without.length} of them (${listNames(without)})`)
  if (byName.size > images.length) {
    const there = new Set(images)
    const gone = [...byName.keys()].filter((name) => !there.has(name))
    refuse(`it names ${gone.length} that are not there (${listNames(gone)})`)
  }
  return images.map((name) => byName.get(name)!)
}
