import { join } from 'node:path'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { encodePng } from '../../src/data/png.ts'
import { writeNpy } from '../../src/formats/npy.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { temporaryFolder, writeTree } from './temporary-folder.ts'

/** As wide as the projectors of the tiny models give. */
export const constantEncoder: Encoder = {
  name: 'constant',
  width: 8,
  features: (images, [rows, columns]) => Tensor.full([images.shape[0]!, rows * columns, 8], 0.5, 'cpu'),
  [Symbol.dispose]() {},
}

/** Samples of 8 x 8 latents in the reference's layout, two unless more are asked for. */
export async function tinyDataset(samples = 2): Promise<string> {
  const root = temporaryFolder()
  const png = encodePng(new Uint8Array(3 * 64 * 64).fill(90), 64, 64, 3)
  const listing = (names: string[]) => JSON.stringify({ labels: names.map((name, i) => [name, (4 * i) % 10]) })
  const numbers = Array.from({ length: samples }, (_, i) => String(i).padStart(8, '0'))
  const images = numbers.map((number) => `00000/img${number}.png`)
  const latents = numbers.map((number) => `00000/img-mean-std-${number}.npy`)
  writeTree(root, {
    'images/dataset.json': listing(images),
    'vae-sd/dataset.json': listing(latents),
    'vae-sd/00000/': '',
    ...Object.fromEntries(images.map((name) => [`images/${name}`, png])),
  })
  for (const [i, name] of latents.entries()) {
    const moments = Float32Array.from({ length: 8 * 8 * 8 }, (_, j) => Math.sin(j + i) + (j >= 256 ? 1.5 : 0))
    await writeNpy(join(root, 'vae-sd', name), hostFloat32(moments, [8, 8, 8]))
  }
  return root
}
