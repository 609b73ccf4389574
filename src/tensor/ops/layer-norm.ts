import { native } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import { recomputable } from '../recomputable.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'

/**
 * modulate(LayerNorm(x), shift, scale) = x̂ (1 + scale) + shift, x [B, T, D]: shift and scale are chunks of the modulation
 * [B, chunks, D]; the LayerNorm has no parameters. x is f32, the result of `dtype`: what the product behind it reads.
 */
export function layerNormModulate(
  x: Tensor,
  modulation: Tensor,
  options: { shift: number; scale: number; epsilon?: number; dtype?: ComputeDType },
): Tensor {
  const { shift, scale, epsilon = 1e-6, dtype = 'f32' } = options
  const tape = recordingTape(x, modulation)
  const [handle, meanHandle, rstdHandle] = native().layerNormModulate(
    x.handle,
    modulation.handle,
    shift,
    scale,
    epsilon,
    dtype,
  )
  const out = new Tensor(handle, x.device)
  const mean = new Tensor(meanHandle, x.device)
  const rstd = new Tensor(rstdHandle, x.device)
  if (!tape) {
    mean.dispose()
    rstd.dispose()
  }
  if (tape?.recompute === 'elementwise') remodulatable(out, x, modulation, { shift, scale, epsilon })
  tape?.push([out], [mean, rstd], (gradients) => {
    const dOut = gradients.take(out)!
    // What reaches x past this branch is added in the same pass.
    const dResidual = gradients.take(x)
    const dX = native().layerNormModulateBackward(
      dOut.handle,
      x.handle,
      mean.handle,
      rstd.handle,
      modulation.handle,
      shift,
      scale,
      dResidual?.handle ?? null,
      gradients.chunks(modulation, shift, scale).handle,
    )
    gradients.add(x, new Tensor(dX, x.device))
  })
  return out
}

/** Lets layerNormModulate's result be forgotten, x being kept. */
export function remodulatable(
  out: Tensor,
  x: Tensor,
  modulation: Tensor,
  { shift, scale, epsilon }: { shift: number; scale: number; epsilon: number },
): void {
  const dtype = computeDType(out)
  recomputable([out], () => {
    const [again, ...statistics] = native().layerNormModulate(x.handle, modulation.handle, shift, scale, epsilon, dtype)
    for (const handle of statistics) native().dispose(handle)
    return [again]
  })
}

/** torch.nn.LayerNorm over the last axis: x [..., D], weight and bias [D], all f32; the result of `dtype`. */
export function layerNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  epsilon = 1e-6,
  dtype: ComputeDType = 'f32',
): Tensor {
  const tape = recordingTape(x, weight, bias)
  const [handle, meanHandle, rstdHandle] = native().layerNorm(x.handle, weight.handle, bias.handle, epsilon, dtype)
  const out = new Tensor(handle, x.device)
  const mean = new Tensor(meanHandle, x.device)
  const rstd = new Tensor(rstdHandle, x.device)
  if (!tape) {
    mean.dispose()
    rstd.dispose()
  }
  tape?.push([out], [mean, rstd], (gradients) => {
    const dOut = gradients.take(out)!
    const { into, accumulate } = gradients.intoAll(weight, bias)
    const dX = native().layerNormBackward(
      dOut.handle,
      x.handle,
      mean.handle,
      rstd.handle,
      weight.handle,
      into[0]!.handle,
      into[1]!.handle,
      accumulate,
    )
    gradients.add(x, new Tensor(dX, x.device))
  })
  return out
}
