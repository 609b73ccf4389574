import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { cpuProductWorkspace, cudaProductsWorkspace, type Product } from '../workspace.ts'
import { reductionRules } from './reductions.ts'

/** The products of linear layers, as native/ops/linear.h has them. A multiply-add is two operations. */
export const productRules = (planner: Planner) => {
  const rowsOf = (x: NativeTensor) => plannedOf(x).elements / plannedOf(x).size(-1)

  type Sizes = Omit<Product, 'isFloat32'>
  const multiply = (at: NativeTensor, ...products: readonly Sizes[]) => {
    const whole = products.map((product) => ({ ...product, isFloat32: plannedOf(at).dtype === 'f32' }))
    const { threads } = planner.machine
    if (!isOnCpu(at)) planner.workspace(cudaProductsWorkspace(whole, planner.machine))
    for (const product of whole) {
      if (isOnCpu(at)) planner.workspace(cpuProductWorkspace(product, threads))
      planner.ledger.addFlops(2 * product.m * product.n * product.k)
    }
  }
  const forward = (x: NativeTensor, weight: NativeTensor) => {
    const [n, k] = [plannedOf(weight).size(0), plannedOf(weight).size(1)]
    multiply(x, { layout: 'forward', m: rowsOf(x), n, k })
  }
  const outputShape = (x: NativeTensor, weight: NativeTensor) => [
    ...plannedOf(x).shape.slice(0, -1),
    plannedOf(weight).size(0),
  ]
  const weightGradients = (x: readonly NativeTensor[], dWeight: readonly NativeTensor[]) => {
    const sizes = dWeight.map((gradient, i): Sizes => {
      const [m, n] = [plannedOf(gradient).size(0), plannedOf(gradient).size(1)]
      return { layout: 'weightGradient', m, n, k: rowsOf(x[i]!) }
    })
    multiply(x[0]!, ...sizes)
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
    linearScaledResidual: (x, weight, _bias, residual) => {
      const out = planner.like(residual)
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
    linearWeightGradient: (_dOut, x, dWeight) => weightGradients([x], [dWeight]),
    linearWeightGradients: (_dOut, x, dWeight) => weightGradients(x, dWeight),
  } satisfies Partial<NativeAddon>
}
