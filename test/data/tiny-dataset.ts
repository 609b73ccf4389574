import { join } from 'node:path'
import { encodePng } from '../../src/data/png.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { writeNpy } from '../formats/write-npy.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { syntheticImage } from './synthetic-image.ts'

/**
 * Samples of 8 x 8 latents in the reference's layout, two unless more are asked for; in a folder that ends with the test unless one is
 * given.
 */
export async function tinyDataset(samples = 2, root = temporaryFolder(), channels = 4): Promise<string> {
  const png = (i: number) => encodePng(syntheticImage(64, 64, i).data, 64, 64, 3)
  const listing = (names: string[]) => JSON.stringify({ labels: names.map((name, i) => [name, (4 * i) % 10]) })
  const numbers = Array.from({ length: samples }, (_, i) => String(i).padStart(8, '0'))
  const images = numbers.map((number) => `00000/img${number}.png`)
  const latents = numbers.map((number) => `00000/img-mean-std-${number}.npy`)
  writeTree(root, {
    'images/dataset.json': listing(images),
    'vae-sd/dataset.json': listing(latents),
    'vae-sd/00000/': '',
    ...Object.fromEntries(images.map((name, i) => [`images/${name}`, png(i)])),
  })
  for (const [i, name] of latents.entries()) {
    const half = channels * 8 * 8
    const moments = Float32Array.from({ length: 2 * half }, (_, j) => Math.sin(j + i) + (j >= half ? 1.5 : 0))
    await writeNpy(join(root, 'vae-sd', name), hostFloat32(moments, [2 * channels, 8, 8]))
  }
  return root
}
