import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { columnSumWorkspace, rowSumWorkspace } from '../workspace.ts'

/** Sums. */
export const reductionRules = (planner: Planner) =>
  ({
    columnSum: (x: NativeTensor) => {
      const { elements } = plannedOf(x)
      const width = plannedOf(x).size(-1)
      const rows = elements / width
      planner.workspace(isOnCpu(x) ? rowSumWorkspace(1, rows, width, 1) : columnSumWorkspace(rows, width))
    },
    sum: (x) => planner.like(x, []),
    linearCombination: (_coefficients, values) => planner.like(values[0]!, undefined, 'f64'),
    cast: (x, dtype) => planner.like(x, undefined, dtype),
  }) satisfies Partial<NativeAddon>
