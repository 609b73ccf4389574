/** `image.decode` and `image.must-fail`: image files in many encodings, and files that must be refused. */
import { dirname } from 'node:path/posix'
import sharp from 'sharp'
import { decodeImage, ImageDecodeError } from '../../data/image-decoding.ts'
import type { HostTensor } from '../../tensor/host-tensor.ts'
import type { Runner } from './kind.ts'
import { refusalOf } from './refusal.ts'

/** Decoders of JPEGs with subsampled chroma may differ a lot at an edge, but not on average: the golden set's own rule. */
const SUBSAMPLED_CHROMA = { fromTolerance: 12, meanBelow: 1 }

const ALPHA = '.alpha'

/** Outputs are named for the image files that lie beside: `FILE` [H, W, 3], and `FILE.alpha` [H, W]. */
export const imageDecode: Runner = async function* (file) {
  for (const [name, { tol }] of Object.entries(file.tensors)) {
    const isAlpha = name.endsWith(ALPHA)
    await using source = file.set.file(`${dirname(file.path)}/${isAlpha ? name.slice(0, -ALPHA.length) : name}`)
    const bytes = await source.bytes()
    if (isAlpha) {
      yield await file.compare(name, await alphaOf(bytes))
      continue
    }
    const { width, height, data } = await decodeImage(bytes, source.absolutePath)
    const rules = tol && tol.atol >= SUBSAMPLED_CHROMA.fromTolerance ? { meanBelow: SUBSAMPLED_CHROMA.meanBelow } : {}
    yield await file.compare(name, { dtype: 'u8', shape: [height, width, 3], data }, rules)
  }
}

/** What `decodeImage` drops, from the same decoder. */
async function alphaOf(bytes: Uint8Array): Promise<HostTensor> {
  const plane = sharp(bytes).extractChannel('alpha').raw()
  const { data, info } = await plane.toBuffer({ resolveWithObject: true })
  return { dtype: 'u8', shape: [info.height, info.width], data }
}

export const imageMustFail: Runner = async function* (file) {
  const bytes = await file.bytes()
  yield await refusalOf(file, [ImageDecodeError], () => decodeImage(bytes, file.absolutePath))
}
