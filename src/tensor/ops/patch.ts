import { native } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'

/** Image [B, C, H, W] → patches [B, T, C·p·p] of `dtype`, elements (channel, py, px): the order of a patch embedding's weight. */
export function patchify(image: Tensor, patch: number, dtype: ComputeDType = 'f32'): Tensor {
  const tape = recordingTape(image)
  const out = new Tensor(native().patchify(image.handle, patch, dtype), image.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    const [, channels, height, width] = image.shape
    const dImage = native().patchifyBackward(dOut.handle, channels!, height!, width!, patch)
    gradients.add(image, new Tensor(dImage, image.device))
  })
  return out
}

/** Tokens [B, T, p·p·C], elements (py, px, channel): the order of SiT's final Linear → image [B, C, H, W]. */
export function unpatchify(
  tokens: Tensor,
  { channels, height, width, patch }: { channels: number; height: number; width: number; patch: number },
): Tensor {
  const tape = recordingTape(tokens)
  const dtype = computeDType(tokens)
  const out = new Tensor(native().unpatchify(tokens.handle, channels, height, width, patch), tokens.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    gradients.add(tokens, new Tensor(native().unpatchifyBackward(dOut.handle, patch, dtype), tokens.device))
  })
  return out
}
