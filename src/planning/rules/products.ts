import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { cpuProductWorkspace, cudaProductWorkspace, type Product } from '../workspace.ts'
import { reductionRules } from './reductions.ts'

/** The products of linear layers, as native/ops/linear.h has them. A multiply-add is two operations. */
export const productRules = (planner: Planner) => {
  const rowsOf = (x: NativeTensor) => plannedOf(x).elements / plannedOf(x).size(-1)

  const multiply = (at: NativeTensor, product: Omit<Product, 'isFloat32'>) => {
    const whole = { ...product, isFloat32: plannedOf(at).dtype === 'f32' }
    const { threads, multiprocessors } = planner.machine
    planner.workspace(isOnCpu(at) ? cpuProductWorkspace(whole, threads) : cudaProductWorkspace(whole, multiprocessors))
    planner.ledger.addFlops(2 * product.m * product.n * product.k)
  }
  const forward = (x: NativeTensor, weight: NativeTensor) => {
    const [n, k] = [plannedOf(weight).size(0), plannedOf(weight).size(1)]
    multiply(x, { layout: 'forward', m: rowsOf(x), n, k })
  }
  const outputShape = (x: NativeTensor, weight: NativeTensor) => [
    ...plannedOf(x).shape.slice(0, -1),
    plannedOf(weight).size(0),
  ]
  const weightGradient = (dOut: NativeTensor, x: NativeTensor, dWeight: NativeTensor) => {
    const [m, n] = [plannedOf(dWeight).size(0), plannedOf(dWeight).size(1)]
    multiply(dOut, { layout: 'weightGradient', m, n, k: rowsOf(x) })
  }

  return {
    linear: (x, weight, _bias, activation, keepPre, dtype) => {
      const shape = outputShape(x, weight)
      const out = planner.like(x, shape, dtype)
      const pre = keepPre && activation !== 'none' ? planner.like(x, shape) : null
      forward(x, weight)
      return [out, pre]
    },
    linearGatedResidual: (x, weight, _bias, residual, _modulation, _gate, keepY) => {
      const out = planner.like(residual)
      const y = keepY ? planner.like(residual, undefined, plannedOf(x).dtype) : null
      forward(x, weight)
      return [out, y]
    },
    linearLayerScale: (x, weight, _bias, residual) => {
      const out = planner.like(residual)
      forward(x, weight)
      return out
    },
    linearAddend: (x, weight) => {
      const out = planner.like(x, outputShape(x, weight), 'f32')
      forward(x, weight)
      return out
    },
    linearInputGradient: (dOut, weight, _pre, _activation, dBias) => {
      const [k, n] = [plannedOf(weight).size(0), plannedOf(weight).size(1)]
      const dX = planner.like(dOut, [...plannedOf(dOut).shape.slice(0, -1), n])
      multiply(dOut, { layout: 'inputGradient', m: rowsOf(dOut), n, k, columnSums: dBias !== null })
      if (dBias && isOnCpu(dOut)) reductionRules(planner).columnSum(dX)
      return dX
    },
    linearWeightGradient: (dOut, x, dWeight) => weightGradient(dOut, x, dWeight),
    linearWeightGradients: (dOut, x, dWeight) =>
      dWeight.forEach((gradient, i) => {
        weightGradient(dOut[i]!, x[i]!, gradient)
      }),
  } satisfies Partial<NativeAddon>
}
