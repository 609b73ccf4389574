/** `preprocess.*`: what becomes of pictures before training and after sampling. */
import { imageGrid } from '../../data/grid.ts'
import type { RgbImage } from '../../data/rgb-image.ts'
import { centerCropDhariwal } from '../../data/transforms.ts'
import { type HostTensor, toFloat32 } from '../../tensor/host-tensor.ts'
import { interleaved } from '../../tensor/planes.ts'
import type { Runner } from './kind.ts'

const hostImage = ({ width, height, data }: RgbImage): HostTensor => ({ dtype: 'u8', shape: [height, width, 3], data })

/** Outputs `N.out_SIZE`: the ADM crop of `N.in` [H, W, 3]. */
export const preprocessCenterCrop: Runner = async function* (file) {
  for (const name of Object.keys(file.tensors)) {
    const match = /^(.+)\.out_(\d+)$/.exec(name)
    if (!match) continue
    const { shape, data } = await file.read(`${match[1]}.in`)
    const image = { width: shape[1]!, height: shape[0]!, data }
    yield await file.compare(name, hostImage(centerCropDhariwal(image, Number(match[2]))))
  }
}

/** Output `grid`: the images `x` [N, 3, H, W] side by side. */
export const preprocessGrid: Runner = async function* (file) {
  const x = await file.read('x')
  const [count, channels, height, width] = x.shape as [number, number, number, number]
  const grid = imageGrid(interleaved(toFloat32(x), height * width), [count, height, width, channels])
  yield await file.compare('grid', hostImage(grid))
}
