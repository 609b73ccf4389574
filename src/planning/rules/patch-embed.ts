import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { MOST_PATCH_ELEMENTS, paddedPatchElements, patchEmbedWorkspace } from '../workspace.ts'
import { imageRules } from './images.ts'
import { productRules } from './products.ts'
import { reductionRules } from './reductions.ts'

/** The patch embedding (native/ops/patch_embed.h): one kernel on a GPU where patches are small, else what it is made of. */
export const patchEmbedRules = (planner: Planner) => {
  const [images, products, reductions] = [imageRules(planner), productRules(planner), reductionRules(planner)]
  const hasKernel = (weight: NativeTensor) => !isOnCpu(weight) && plannedOf(weight).size(1) <= MOST_PATCH_ELEMENTS
  const dispose = (...handles: readonly NativeTensor[]) => {
    for (const handle of handles) plannedOf(handle).dispose()
  }

  return {
    patchEmbed: (image, _patch, weight, bias, positions) => {
      const { dtype } = plannedOf(weight)
      if (!hasKernel(weight)) {
        const [width, elements] = [plannedOf(weight).size(0), plannedOf(weight).size(1)]
        const row = isOnCpu(weight) || dtype === 'f32' ? elements : paddedPatchElements(elements)
        const rows = planner.like(image, [plannedOf(image).size(0), plannedOf(positions).size(0), row], dtype)
        const padded = row === elements ? [] : [planner.like(weight, [width, row])]
        const [tokens] = products.linear(rows, weight, bias, 'none', false, 'f32')
        dispose(rows, ...padded)
        return tokens
      }
      const tokens = planner.like(positions, [plannedOf(image).size(0), ...plannedOf(positions).shape])
      planner.ledger.addFlops(2 * plannedOf(tokens).elements * plannedOf(weight).size(1))
      return tokens
    },
    patchEmbedBackward: (dTokens, image, patch, dtype, dWeight, dBias) => {
      const [width, elements] = [plannedOf(dWeight).size(0), plannedOf(dWeight).size(1)]
      const rows = plannedOf(dTokens).elements / width
      if (hasKernel(dWeight)) {
        planner.workspace(patchEmbedWorkspace(rows, width, elements))
        planner.ledger.addFlops(2 * rows * width * elements)
        return
      }
      if (dBias) reductions.columnSum(dTokens)
      const patches = images.patchify(image, patch, dtype)
      const rounded = dtype === 'f32' ? undefined : reductions.cast(dTokens, dtype)
      products.linearWeightGradient(rounded ?? dTokens, patches, dWeight)
      dispose(patches, ...(rounded ? [rounded] : []))
    },
  } satisfies Partial<NativeAddon>
}
