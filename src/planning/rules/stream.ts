import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { branchBackwardWorkspace, normFactorsWorkspace, rowSumWorkspace } from '../workspace.ts'

/** What happens to the residual stream between products: norms, modulations, gates (native/ops/{layer_norm,residual,half_block}.h). */
export const streamRules = (planner: Planner) => {
  const rowsOf = (x: NativeTensor) => plannedOf(x).shape.slice(0, -1)
  const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1)
  /** Of so many sums on a GPU, `joined` of them over the groups or to what is there; a CPU makes two at a time. */
  const sums = (groups: number, rows: number, x: NativeTensor, count: number, joined: number) => {
    const width = plannedOf(x).size(-1)
    planner.workspace(
      isOnCpu(x)
        ? rowSumWorkspace(groups, rows, width, 2)
        : branchBackwardWorkspace(groups, rows, width, count, joined),
    )
  }
  /** Over the tokens of every sample, and a bias's gradient over all. */
  const sampleSums = (x: NativeTensor, ofSamples: number, dBias: NativeTensor | null | undefined) =>
    sums(plannedOf(x).size(0), plannedOf(x).size(1), x, ofSamples + (dBias ? 1 : 0), dBias ? 1 : 0)
  /** Over all rows. */
  const rowSums = (x: NativeTensor, ofRows: number, accumulate: boolean) =>
    sums(1, count(rowsOf(x)), x, ofRows, accumulate ? ofRows : 0)

  return {
    layerNorm: (x, _weight, _bias, _epsilon, dtype) => {
      const rows = [count(rowsOf(x))]
      return [planner.like(x, undefined, dtype), planner.like(x, rows), planner.like(x, rows)]
    },
    layerNormBackward: (_dOut, x, _mean, _rstd, _weight, _dWeight, _dBias, accumulate) => {
      const dX = planner.like(x)
      rowSums(x, 2, accumulate)
      return dX
    },
    normModulate: (x, _modulation, _shift, _scale, _norm, _epsilon, dtype) => [
      planner.like(x, undefined, dtype),
      planner.like(x, rowsOf(x)),
      planner.like(x, rowsOf(x)),
    ],
    normModulateBackward: (_dOut, x) => {
      const dX = planner.like(x)
      sampleSums(x, 2, undefined)
      return dX
    },
    normFactors: (modulation) => planner.like(modulation),
    normFactorsBackward: (dModulation, _modulation, weights) => {
      const [norms, width] = [plannedOf(weights).size(0), plannedOf(weights).size(1)]
      const batch = plannedOf(dModulation).size(0)
      planner.workspace(normFactorsWorkspace(batch, norms, width, isOnCpu(dModulation)))
    },
    gatedResidual: (x) => planner.like(x),
    gatedResidualBackward: (dOut, y, _modulation, _gate, _dModulation, dBias) => {
      const dY = planner.like(y)
      sampleSums(dOut, 1, dBias)
      return dY
    },
    gatedResidualNormModulate: (x, y) => [
      planner.like(x),
      planner.like(y),
      planner.like(x, rowsOf(x)),
      planner.like(x, rowsOf(x)),
    ],
    gatedResidualNormModulateBackward: (
      _dOut,
      _dStream,
      stream,
      _mean,
      _rstd,
      y,
      _modulation,
      _gate,
      _shift,
      _scale,
      _norm,
      _dModulation,
      dBias,
    ) => {
      const gradients: [NativeTensor, NativeTensor] = [planner.like(stream), planner.like(y)]
      sampleSums(stream, 3, dBias)
      return gradients
    },
    layerScale: (x) => planner.like(x),
    layerScaleBackward: (dOut, y, _gamma, _dGamma, accumulate) => {
      const dY = planner.like(y)
      rowSums(dOut, 1, accumulate)
      return dY
    },
  } satisfies Partial<NativeAddon>
}
