import { type Activation, native } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import type { Gradients } from '../gradients.ts'
import { recomputable } from '../recomputable.ts'
import { release } from '../scope.ts'
import { recordingTape, type Tape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'

/** Weight [out, in], in the dtype in which the model computes, and bias [out] (f32) of a linear layer. */
export interface LinearWeights {
  readonly weight: Tensor
  readonly bias: Tensor | undefined
}

/**
 * What stands between an MLP's layers: a function of each number, or SwiGLU, silu(x1) ⊙ x2 of rows x1 | x2 [..., 2h], which leaves half of
 * the layer's numbers.
 */
export type HiddenActivation = Activation | 'swiglu'

/** Where a branch joins the residual stream: residual + gate ⊙ branch, the gate being a chunk of the modulation [B, chunks, D]. */
export interface GatedResidual {
  readonly residual: Tensor
  readonly modulation: Tensor
  readonly gate: number
}

/** x Wᵀ + b: [..., in] → [..., out] of `dtype`, the weight's unless given. x of another dtype is converted first. */
export function linear(x: Tensor, layer: LinearWeights, dtype?: ComputeDType): Tensor {
  return mlp(x, [layer], 'none', dtype)
}

/**
 * Linear layers with an activation between them (not behind the last): [..., in] → [..., out] of `dtype`, the weights' unless
 * given. x of another dtype is converted first. In the backward pass the activation's derivative is the epilogue of the product
 * that goes through it, and SwiGLU's a pass of its own.
 */
export function mlp(
  input: Tensor,
  layers: readonly LinearWeights[],
  activation: HiddenActivation,
  dtype: ComputeDType = computeDType(layers[0]!.weight),
): Tensor {
  const x = cast(input, computeDType(layers[0]!.weight))
  const tape = recordingTape(x, ...layers.flatMap(({ weight, bias }) => [weight, bias]))
  const hidden = hiddenLayers(x, layers, activation, tape)
  const last = layers.at(-1)!
  const [handle] = native().linear(
    (hidden.at(-1)?.out ?? x).handle,
    last.weight.handle,
    last.bias?.handle ?? null,
    'none',
    false,
    dtype,
  )
  const out = new Tensor(handle, x.device)
  doneWith(hidden.at(-1), tape)
  tape?.push([out], saved(hidden), (gradients) => {
    const dOut = gradients.take(out)!
    biasGradient(gradients, last, dOut)
    layersBackward(gradients, x, hidden, layers, activation, cast(dOut, computeDType(last.weight)))
  })
  return out
}

/**
 * residual + gate ⊙ mlp(x): a block's branch with its adaLN-zero gate, added in the last product's epilogue. x and the result
 * are [B, T, D].
 */
export function mlpGatedResidual(
  x: Tensor,
  layers: readonly LinearWeights[],
  activation: HiddenActivation,
  { residual, modulation, gate }: GatedResidual,
): Tensor {
  const tape = recordingTape(x, residual, modulation, ...layers.flatMap(({ weight, bias }) => [weight, bias]))
  const hidden = hiddenLayers(x, layers, activation, tape)
  const last = layers.at(-1)!
  const input = hidden.at(-1)?.out ?? x
  const [handle, yHandle] = native().linearGatedResidual(
    input.handle,
    last.weight.handle,
    last.bias?.handle ?? null,
    residual.handle,
    modulation.handle,
    gate,
    tape !== undefined,
  )
  const out = new Tensor(handle, x.device)
  const y = yHandle ? new Tensor(yHandle, x.device) : undefined
  doneWith(hidden.at(-1), tape)
  tape?.push([out], [...saved(hidden), y], (gradients) => {
    const dOut = gradients.take(out)!
    const bias = last.bias && gradients.wants(last.bias) ? gradients.into(last.bias) : undefined
    const dY = new Tensor(
      native().gatedResidualBackward(
        dOut.handle,
        y!.handle,
        modulation.handle,
        gate,
        gradients.chunks(modulation, gate).handle,
        bias?.into.handle ?? null,
        bias?.accumulate ?? false,
      ),
      x.device,
    )
    gradients.add(residual, dOut.alias())
    layersBackward(gradients, x, hidden, layers, activation, dY)
  })
  return out
}

/** Where a branch of a plain transformer joins its stream: residual + γ ⊙ branch. */
export interface ScaledResidual {
  readonly residual: Tensor
  /** γ [D] of LayerScale; undefined: the branch joins as it is. */
  readonly gamma: Tensor | undefined
  /** [D] of ones, by which the product's epilogue multiplies where there is no γ. */
  readonly ones: Tensor
}

/**
 * residual + γ ⊙ mlp(x): a branch of a plain transformer, added in the last product's epilogue; x [..., in], the rest [..., D]. Where
 * there is a γ, the backward pass makes the last product once more, for the branch by itself.
 */
export function mlpResidual(
  x: Tensor,
  layers: readonly LinearWeights[],
  activation: HiddenActivation,
  { residual, gamma, ones }: ScaledResidual,
): Tensor {
  const tape = recordingTape(x, residual, gamma, ...layers.flatMap(({ weight, bias }) => [weight, bias]))
  const hidden = hiddenLayers(x, layers, activation, tape)
  const last = layers.at(-1)!
  const product = () => [(hidden.at(-1)?.out ?? x).handle, last.weight.handle, last.bias?.handle ?? null] as const
  const out = new Tensor(native().linearScaledResidual(...product(), residual.handle, (gamma ?? ones).handle), x.device)
  doneWith(hidden.at(-1), tape)
  tape?.push([out], saved(hidden), (gradients) => {
    const dOut = gradients.take(out)!
    const dtype = computeDType(last.weight)
    let dBranch = dOut
    if (gamma) {
      const y = new Tensor(native().linear(...product(), 'none', false, dtype)[0], x.device)
      const { into, accumulate } = gradients.into(gamma)
      dBranch = new Tensor(
        native().layerScaleBackward(dOut.handle, y.handle, gamma.handle, into.handle, accumulate),
        x.device,
      )
    }
    biasGradient(gradients, last, dBranch)
    layersBackward(gradients, x, hidden, layers, activation, cast(dBranch, dtype))
    gradients.add(residual, dOut.alias())
  })
  return out
}

/** residual + γ ⊙ (x Wᵀ + b). */
export function linearResidual(x: Tensor, layer: LinearWeights, target: ScaledResidual): Tensor {
  return mlpResidual(x, [layer], 'none', target)
}

/** residual + gate ⊙ (x Wᵀ + b): attention's output projection in an adaLN-zero block. */
export function linearGatedResidual(x: Tensor, layer: LinearWeights, target: GatedResidual): Tensor {
  return mlpGatedResidual(x, [layer], 'none', target)
}

export interface Hidden {
  readonly out: Tensor
  /** The pre-activation, where there is an activation and a backward pass will come. */
  readonly pre: Tensor | undefined
}

/** The layers but the last. What a tape that recomputes forgets of them, `out`, is f(pre). */
export function hiddenLayers(
  x: Tensor,
  layers: readonly LinearWeights[],
  activation: HiddenActivation,
  tape: Tape | undefined,
): Hidden[] {
  const hidden: Hidden[] = []
  for (const layer of layers.slice(0, -1)) {
    const made = activated(hidden.at(-1)?.out ?? x, layer, activation, tape !== undefined)
    doneWith(hidden.at(-1), tape)
    const { out, pre } = made
    if (tape?.recompute === 'elementwise' && pre && activation !== 'none') {
      recomputable([out], () => [
        activation === 'swiglu' ? native().swiGLU(pre.handle) : native().activation(pre.handle, activation),
      ])
    }
    hidden.push(made)
  }
  return hidden
}

/** One layer and what stands behind it; with `keepPre` also what stands between. */
function activated(
  input: Tensor,
  { weight, bias }: LinearWeights,
  activation: HiddenActivation,
  keepPre: boolean,
): Hidden {
  const { device } = input
  const isFused = activation !== 'swiglu'
  const [first, second] = native().linear(
    input.handle,
    weight.handle,
    bias?.handle ?? null,
    isFused ? activation : 'none',
    isFused && keepPre,
    computeDType(weight),
  )
  if (isFused) return { out: new Tensor(first, device), pre: second ? new Tensor(second, device) : undefined }
  const pre = new Tensor(first, device)
  const out = new Tensor(native().swiGLU(first), device)
  if (keepPre) return { out, pre }
  pre.dispose()
  return { out, pre: undefined }
}

/** The forward pass has used a hidden layer's result for the last time. */
export function doneWith(layer: Hidden | undefined, tape: Tape | undefined): void {
  if (tape) layer?.out.forget()
  else layer?.out.dispose()
}

export function saved(hidden: readonly Hidden[]): (Tensor | undefined)[] {
  return hidden.flatMap(({ out, pre }) => [out, pre])
}

/** Adds the sums of dOut's columns to the gradient of a layer's bias, where anybody wants it. */
export function biasGradient(gradients: Gradients, { bias }: LinearWeights, dOut: Tensor): void {
  if (!bias || !gradients.wants(bias)) return
  const { into, accumulate } = gradients.into(bias)
  native().columnSum(dOut.handle, into.handle, accumulate)
}

/** From the gradient of the last layer's product back to x's; the last layer's bias is the caller's. */
export function layersBackward(
  gradients: Gradients,
  x: Tensor,
  hidden: readonly Hidden[],
  layers: readonly LinearWeights[],
  activation: HiddenActivation,
  dLast: Tensor,
): void {
  let dOut = dLast
  for (let i = layers.length - 1; i >= 0; i--) {
    const { weight } = layers[i]!
    const below = hidden[i - 1]
    const input = below?.out ?? x
    if (gradients.wants(weight)) gradients.addWeightGradient(weight, dOut, input)
    if (below) {
      release(below.out)
      const dPre = preGradient(gradients, dOut, weight, below.pre, layers[i - 1]!, activation)
      if (dOut !== dLast) dOut.dispose()
      dOut = dPre
    } else if (gradients.wants(x)) {
      const dX = native().linearInputGradient(dOut.handle, weight.handle, null, 'none', null, false)
      gradients.add(x, new Tensor(dX, x.device))
    }
  }
}

/**
 * Through one layer's product, from the gradient of its result, and what stood before it, which has a `pre` unless it was nothing; the bias
 * there has its gradient too.
 */
function preGradient(
  gradients: Gradients,
  dOut: Tensor,
  weight: Tensor,
  pre: Tensor | undefined,
  below: LinearWeights,
  activation: HiddenActivation,
): Tensor {
  const { device } = dOut
  if (activation === 'swiglu') {
    const dHidden = native().linearInputGradient(dOut.handle, weight.handle, null, 'none', null, false)
    const dPre = new Tensor(native().swiGLUBackward(dHidden, pre!.handle), device)
    native().dispose(dHidden)
    biasGradient(gradients, below, dPre)
    return dPre
  }
  const { bias } = below
  const dBias = bias && gradients.wants(bias) ? gradients.into(bias) : undefined
  const dPre = native().linearInputGradient(
    dOut.handle,
    weight.handle,
    pre?.handle ?? null,
    activation,
    dBias?.into.handle ?? null,
    dBias?.accumulate ?? false,
  )
  return new Tensor(dPre, device)
}
