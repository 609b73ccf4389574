import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { rowSumWorkspace } from '../workspace.ts'

/** Sums. */
export const reductionRules = (planner: Planner) =>
  ({
    columnSum: (x: NativeTensor) => {
      const { elements } = plannedOf(x)
      const width = plannedOf(x).size(-1)
      planner.workspace(rowSumWorkspace(1, elements / width, width, 1, isOnCpu(x)))
    },
    sum: (x) => planner.like(x, []),
    linearCombination: (_coefficients, values) => planner.like(values[0]!, undefined, 'f64'),
    cast: (x, dtype) => planner.like(x, undefined, dtype),
  }) satisfies Partial<NativeAddon>
