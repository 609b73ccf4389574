import { encodePng } from '../../src/data/png.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

/** A prepared set of pictures of stripes, in classes by their direction and colour: there is something to be seen in them. */
export function stripedDataset({ count = 40, size = 16, classes = 4 } = {}): string {
  const root = temporaryFolder()
  const names = Array.from({ length: count }, (_, i) => `00000/img${String(i).padStart(8, '0')}.png`)
  const files = names.map((name, i) => {
    const label = i % classes
    const phase = 3 * Math.floor(i / classes)
    const pixels = new Uint8Array(size * size * 3)
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const wave = Math.sin(((label % 2 === 0 ? x : y) + phase) / (1 + label / 2))
        for (let c = 0; c < 3; c++) pixels[(y * size + x) * 3 + c] = 128 + 100 * wave * (c === label % 3 ? 1 : 0.4)
      }
    }
    return [`images/${name}`, encodePng(pixels, size, size, 3)] as const
  })
  const labels = names.map((name, i) => [name, i % classes])
  writeTree(root, { 'images/dataset.json': JSON.stringify({ labels }), ...Object.fromEntries(files) })
  return root
}
