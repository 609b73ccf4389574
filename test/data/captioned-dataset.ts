import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { captionsJsonLines } from '../../src/data/captions-json.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { tinyDataset } from './tiny-dataset.ts'

/** The captions of tiny samples, as many as the sample's number, but of every fifth from the first none; no two alike. */
export const captionsOfTiny = (samples: number): readonly (readonly string[])[] =>
  Array.from({ length: samples }, (_, i) =>
    Array.from({ length: i % 5 === 0 ? 0 : i }, (_, k) => `${i}:${k} of the cats`),
  )

/** `tinyDataset` with captions. */
export async function captionedDataset(samples = 2, root = temporaryFolder()): Promise<string> {
  await tinyDataset(samples, root)
  const captions = captionsOfTiny(samples).map((own, i) => [`00000/img${String(i).padStart(8, '0')}.png`, own] as const)
  await writeFile(join(root, 'captions.json'), captionsJsonLines(captions))
  return root
}
