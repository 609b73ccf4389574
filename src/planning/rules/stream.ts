import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { normFactorsWorkspace, rowSumWorkspace } from '../workspace.ts'

/** What happens to the residual stream between products: norms, modulations, gates (native/ops/{layer_norm,residual,half_block}.h). */
export const streamRules = (planner: Planner) => {
  const rowsOf = (x: NativeTensor) => plannedOf(x).shape.slice(0, -1)
  const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1)
  /** Sums over the tokens of every sample. */
  const sampleSums = (x: NativeTensor) =>
    planner.workspace(rowSumWorkspace(plannedOf(x).size(0), plannedOf(x).size(1), plannedOf(x).size(2), 2, isOnCpu(x)))
  /** Sums over all rows. */
  const rowSums = (x: NativeTensor) =>
    planner.workspace(rowSumWorkspace(1, count(rowsOf(x)), plannedOf(x).size(-1), 2, isOnCpu(x)))

  return {
    layerNorm: (x, _weight, _bias, _epsilon, dtype) => {
      const rows = [count(rowsOf(x))]
      return [planner.like(x, undefined, dtype), planner.like(x, rows), planner.like(x, rows)]
    },
    layerNormBackward: (_dOut, x) => {
      const dX = planner.like(x)
      rowSums(x)
      return dX
    },
    normModulate: (x, _modulation, _shift, _scale, _norm, _epsilon, dtype) => [
      planner.like(x, undefined, dtype),
      planner.like(x, rowsOf(x)),
      planner.like(x, rowsOf(x)),
    ],
    normModulateBackward: (_dOut, x) => {
      const dX = planner.like(x)
      sampleSums(x)
      return dX
    },
    normFactors: (modulation) => planner.like(modulation),
    normFactorsBackward: (dModulation, _modulation, weights) => {
      const [norms, width] = [plannedOf(weights).size(0), plannedOf(weights).size(1)]
      const batch = plannedOf(dModulation).size(0)
      planner.workspace(normFactorsWorkspace(batch, norms, width, isOnCpu(dModulation)))
    },
    gatedResidual: (x) => planner.like(x),
    gatedResidualBackward: (dOut, y) => {
      const dY = planner.like(y)
      sampleSums(dOut)
      return dY
    },
    gatedResidualNormModulate: (x, y) => [
      planner.like(x),
      planner.like(y),
      planner.like(x, rowsOf(x)),
      planner.like(x, rowsOf(x)),
    ],
    gatedResidualNormModulateBackward: (_dOut, _dStream, stream, _mean, _rstd, y) => {
      const gradients: [NativeTensor, NativeTensor] = [planner.like(stream), planner.like(y)]
      sampleSums(stream)
      return gradients
    },
    layerScale: (x) => planner.like(x),
    layerScaleBackward: (dOut, y) => {
      const dY = planner.like(y)
      rowSums(dOut)
      return dY
    },
  } satisfies Partial<NativeAddon>
}
