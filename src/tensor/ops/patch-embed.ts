import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'
import { biasGradient, type LinearWeights } from './linear.ts'

/**
 * Image f32 [B, C, H, W] → tokens f32 [B, T, D]: its patches, rounded to the weight's dtype, times the weight [D, C·p·p], plus bias and
 * positions [T, D]. In the backward pass the tokens' gradient is rounded as the patches are for the weight's gradient, and is not for
 * the bias's; positions get none.
 */
export function patchEmbed(image: Tensor, patch: number, layer: LinearWeights, positions: Tensor): Tensor {
  const { weight, bias } = layer
  const tape = recordingTape(image, weight, bias)
  const out = new Tensor(
    native().patchEmbed(image.handle, patch, weight.handle, bias?.handle ?? null, positions.handle),
    image.device,
  )
  // The patches are cut out once more rather than kept: of a latent they are a hundredth of the tokens' bytes.
  const kept = tape && image.alias()
  tape?.push([out], [kept], (gradients) => {
    const dTokens = gradients.take(out)!
    const dtype = computeDType(weight)
    if (gradients.wants(weight)) {
      const { into, accumulate } = gradients.intoAll(weight, ...(bias && gradients.wants(bias) ? [bias] : []))
      const [dWeight, dBias] = into
      native().patchEmbedBackward(
        dTokens.handle,
        kept!.handle,
        patch,
        dtype,
        dWeight!.handle,
        dBias?.handle ?? null,
        accumulate,
      )
    } else {
      biasGradient(gradients, layer, dTokens)
    }
    if (gradients.wants(image)) {
      const [, channels, height, width] = image.shape
      const rounded = cast(dTokens, dtype)
      const dPatches = new Tensor(
        native().linearInputGradient(rounded.handle, weight.handle, null, 'none', null, false),
        image.device,
      )
      const dImage = native().patchifyBackward(dPatches.handle, channels!, height!, width!, patch)
      gradients.add(image, new Tensor(dImage, image.device))
    }
  })
  return out
}
