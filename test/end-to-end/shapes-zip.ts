import { writeFile } from 'node:fs/promises'
import { encodePng } from '../../src/data/png.ts'
import { type ZipEntry, zipOf } from '../data/zip-writer.ts'

const COLOURS = [
  [220, 40, 40],
  [40, 200, 60],
  [50, 70, 230],
] as const

/** A picture whose class shows at once: a bar in the class's colour, at a place of its own, on a background of its own. */
export function shapePng(label: number, number: number, size: number): Uint8Array {
  const pixels = new Uint8Array(size * size * 3).fill(30 + 20 * (number % 4))
  const colour = COLOURS[label % COLOURS.length]!
  const begin = (number * 5) % (size / 2)
  for (let along = 0; along < size; along++) {
    for (let across = begin; across < begin + size / 4; across++) {
      const at = label % 2 === 0 ? along * size + across : across * size + along
      pixels.set(colour, at * 3)
    }
  }
  return encodePng(pixels, size, size, 3)
}

/** A zip of class folders `red`, `green` and `blue`, as a user would make one; `extra` entries come last. */
export async function writeShapesZip(
  path: string,
  { perClass, size, extra = [] }: { perClass: number; size: number; extra?: readonly ZipEntry[] },
): Promise<void> {
  const entries = ['red', 'green', 'blue'].flatMap((name, label) =>
    Array.from({ length: perClass }, (_, i) => ({ name: `${name}/${i}.png`, data: shapePng(label, i, size) })),
  )
  await writeFile(path, zipOf([...entries, ...extra]))
}
