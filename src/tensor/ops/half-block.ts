import { type NativeTensor, native } from '../../native.ts'
import { recomputable } from '../recomputable.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { type Modulated, remodulatable } from './layer-norm.ts'
import {
  doneWith,
  type GatedResidual,
  type HiddenActivation,
  hiddenLayers,
  type LinearWeights,
  layersBackward,
  saved,
} from './linear.ts'

/** Between two branches: the residual stream [B, T, D] (f32), and what the next branch reads of it, modulate(norm(stream)). */
export interface Joined {
  readonly stream: Tensor
  readonly modulated: Tensor
}

/** Of the norms. */
const EPSILON = 1e-6

/**
 * A branch joins the stream, residual + gate ⊙ mlp(x), and the next branch begins: modulate(norm(stream)), of the dtype of the
 * weights. One op for both, because their backward passes are one pass over the stream, and such passes are most of what a training
 * step's time beside its products goes to. A tape that recomputes lets the modulated stream be forgotten, and every other stream with it:
 * one that follows a stream that is kept.
 */
export function mlpGatedResidualModulate(
  x: Tensor,
  layers: readonly LinearWeights[],
  activation: HiddenActivation,
  target: GatedResidual,
  next: Modulated,
): Joined {
  const { residual, modulation, gate } = target
  const tape = recordingTape(x, residual, modulation, ...layers.flatMap(({ weight, bias }) => [weight, bias]))
  const hidden = hiddenLayers(x, layers, activation, tape)
  const last = layers.at(-1)!
  const joined = join(hidden.at(-1)?.out ?? x, last, target, next, tape !== undefined)
  const { stream, modulated, mean, rstd, y } = joined
  doneWith(hidden.at(-1), tape)
  if (!tape) for (const tensor of [mean, rstd, y]) tensor?.dispose()
  if (tape?.recompute === 'elementwise') letForget(joined, target, next)

  tape?.push([stream, modulated], [...saved(hidden), mean, rstd, y], (gradients) => {
    const dStream = gradients.take(stream)
    const dModulated = gradients.take(modulated)
    const bias = last.bias && gradients.wants(last.bias) ? gradients.into(last.bias) : undefined
    const intoBias = [bias?.into.handle ?? null, bias?.accumulate ?? false] as const
    let dY: Tensor
    if (dModulated) {
      const [dX, dBranch] = native().gatedResidualNormModulateBackward(
        dModulated.handle,
        dStream?.handle ?? null,
        stream.handle,
        mean.handle,
        rstd.handle,
        y!.handle,
        modulation.handle,
        gate,
        next.shift,
        next.scale,
        next.norm ?? 'layerNorm',
        gradients.chunks(modulation, gate, next.shift, next.scale).handle,
        ...intoBias,
      )
      dY = new Tensor(dBranch, x.device)
      gradients.add(residual, new Tensor(dX, x.device))
    } else {
      const dGate = gradients.chunks(modulation, gate)
      const { handle } = dStream!
      dY = new Tensor(
        native().gatedResidualBackward(handle, y!.handle, modulation.handle, gate, dGate.handle, ...intoBias),
        x.device,
      )
      gradients.add(residual, dStream!.alias())
    }
    layersBackward(gradients, x, hidden, layers, activation, dY)
  })
  return { stream, modulated }
}

/** residual + gate ⊙ (x Wᵀ + b) and the next branch's input: attention's output projection in an adaLN-zero block. */
export function linearGatedResidualModulate(
  x: Tensor,
  layer: LinearWeights,
  target: GatedResidual,
  next: Modulated,
): Joined {
  return mlpGatedResidualModulate(x, [layer], 'none', target, next)
}

/** From the stream where that is kept, else from the one before it and the branch: single passes over what is kept. */
function letForget(
  { stream, modulated, y }: Joined & { y: Tensor | undefined },
  { residual, modulation, gate }: GatedResidual,
  { shift, scale, norm = 'layerNorm', epsilon = EPSILON }: Modulated,
): void {
  if (residual.isRecomputable) {
    remodulatable(modulated, stream, modulation, { shift, scale, norm, epsilon })
    return
  }
  recomputable([stream, modulated], () => {
    const [streamAgain, modulatedAgain, ...statistics] = native().gatedResidualNormModulate(
      residual.handle,
      y!.handle,
      modulation.handle,
      gate,
      shift,
      scale,
      norm,
      epsilon,
    )
    for (const handle of statistics) native().dispose(handle)
    return [streamAgain, modulatedAgain]
  })
}

/**
 * The last product, the join and the modulation; y is the branch's output. A CPU's product adds the gated branch in its epilogue and
 * keeps y only where a backward pass will need it. A GPU's product stores y, and the pass that joins it normalises as well: one
 * access of the stream less.
 */
function join(
  input: Tensor,
  { weight, bias }: LinearWeights,
  { residual, modulation, gate }: GatedResidual,
  { shift, scale, norm = 'layerNorm', epsilon = EPSILON }: Modulated,
  keepY: boolean,
): Joined & { mean: Tensor; rstd: Tensor; y: Tensor | undefined } {
  const { device } = input
  const dtype = computeDType(weight)
  const made = (handle: NativeTensor) => new Tensor(handle, device)
  const into = modulation.handle
  if (device === 'cpu') {
    const product = [input.handle, weight.handle, bias?.handle ?? null] as const
    const [stream, y] = native().linearGatedResidual(...product, residual.handle, into, gate, keepY)
    const [modulated, mean, rstd] = native().normModulate(stream, into, shift, scale, norm, epsilon, dtype)
    return {
      stream: made(stream),
      modulated: made(modulated),
      mean: made(mean),
      rstd: made(rstd),
      y: y ? made(y) : undefined,
    }
  }
  const [y] = native().linear(input.handle, weight.handle, bias?.handle ?? null, 'none', false, dtype)
  const [stream, modulated, mean, rstd] = native().gatedResidualNormModulate(
    residual.handle,
    y,
    into,
    gate,
    shift,
    scale,
    norm,
    epsilon,
  )
  return { stream: made(stream), modulated: made(modulated), mean: made(mean), rstd: made(rstd), y: made(y) }
}
