import type { NativeAddon } from '../../native.ts'
import { handleOf, plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { convolutionWorkspace, groupNormWorkspace } from '../workspace.ts'

/** What autoencoders are made of (native/ops/{conv2d,group_norm,softmax}.h). A multiply-add is two operations. */
export const convolutionRules = (planner: Planner) =>
  ({
    conv2d: (
      x,
      coefficients,
      _inputActivation,
      upsample,
      weight,
      _bias,
      stride,
      padding,
      residual,
      intoResidual,
      _activation,
      dtype,
    ) => {
      const [batch, height, width, channels] = plannedOf(x).shape as [number, number, number, number]
      const [outChannels, kernelHeight, kernelWidth] = plannedOf(weight).shape as [number, number, number]
      const [top, bottom, left, right] = padding as [number, number, number, number]
      const side = (size: number, padded: number, kernel: number, step: number) =>
        Math.floor((size * upsample + padded - kernel) / step) + 1
      const outHeight = side(height, top + bottom, kernelHeight, stride[0]!)
      const outWidth = side(width, left + right, kernelWidth, stride[1]!)
      const shape = [batch, outHeight, outWidth, outChannels]
      const out = intoResidual ? handleOf(plannedOf(residual!).sharing(shape)) : planner.like(x, shape, dtype)
      planner.workspace(
        convolutionWorkspace(
          { batch, outHeight, outWidth, channels, outChannels, kernelHeight, kernelWidth, stride },
          {
            threads: isOnCpu(x) ? planner.machine.threads : undefined,
            normalised:
              coefficients || plannedOf(x).dtype !== plannedOf(weight).dtype ? plannedOf(weight).dtype : undefined,
            inputElements: plannedOf(x).elements,
          },
        ),
      )
      planner.ledger.addFlops(2 * batch * outHeight * outWidth * outChannels * kernelHeight * kernelWidth * channels)
      return out
    },
    groupNormCoefficients: (x) => {
      const [batch, channels] = [plannedOf(x).size(0), plannedOf(x).size(-1)]
      const pixels = plannedOf(x).elements / batch / channels
      const out = planner.like(x, [batch, 2, channels], 'f32')
      planner.workspace(groupNormWorkspace(batch, pixels, channels, isOnCpu(x)))
      return out
    },
    groupNormApply: (x, _coefficients, _activation, dtype) => planner.like(x, undefined, dtype),
    softmax: (x, _scale, dtype) => planner.like(x, undefined, dtype),
    softClamp: (x) => planner.like(x),
  }) satisfies Partial<NativeAddon>
