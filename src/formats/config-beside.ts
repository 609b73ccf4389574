import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ifThere } from './if-there.ts'

/** config.json beside a file of weights, as diffusers and the Transformers library write it; undefined where there is none. */
export async function configBeside(weights: string): Promise<{ path: string; text: string } | undefined> {
  const path = join(dirname(weights), 'config.json')
  const text = await ifThere(readFile(path, 'utf8'))
  return text === undefined ? undefined : { path, text }
}
