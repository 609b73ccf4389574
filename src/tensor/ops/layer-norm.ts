import { type Norm, native } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import { recomputable } from '../recomputable.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'

/** Which norm reads x, and by which chunks of the modulation it is modulated. */
export interface Modulated {
  readonly shift: number
  readonly scale: number
  /** Default: layerNorm. */
  readonly norm?: Norm
  readonly epsilon?: number
}

/**
 * modulate(norm(x), shift, scale), x [B, T, D]: shift and scale are chunks of the modulation [B, chunks, D]. Of a LayerNorm, which has no
 * parameters, x̂ (1 + scale) + shift; of an RMSNorm x / rms(x) · scale + shift, for there the chunk is the whole factor (`normFactors`).
 * x is f32, the result of `dtype`: what the product behind it reads.
 */
export function normModulate(
  x: Tensor,
  modulation: Tensor,
  { shift, scale, norm = 'layerNorm', epsilon = 1e-6, dtype = 'f32' }: Modulated & { readonly dtype?: ComputeDType },
): Tensor {
  const tape = recordingTape(x, modulation)
  const [handle, meanHandle, rstdHandle] = native().normModulate(
    x.handle,
    modulation.handle,
    shift,
    scale,
    norm,
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
  if (tape?.recompute === 'elementwise') remodulatable(out, x, modulation, { shift, scale, norm, epsilon })
  tape?.push([out], [mean, rstd], (gradients) => {
    const dOut = gradients.take(out)!
    // What reaches x past this branch is added in the same pass.
    const dResidual = gradients.take(x)
    const dX = native().normModulateBackward(
      dOut.handle,
      x.handle,
      mean.handle,
      rstd.handle,
      modulation.handle,
      shift,
      scale,
      norm,
      dResidual?.handle ?? null,
      gradients.chunks(modulation, shift, scale).handle,
    )
    gradients.add(x, new Tensor(dX, x.device))
  })
  return out
}

/** Lets normModulate's result be forgotten, x being kept. */
export function remodulatable(
  out: Tensor,
  x: Tensor,
  modulation: Tensor,
  { shift, scale, norm, epsilon }: Required<Modulated>,
): void {
  const dtype = computeDType(out)
  recomputable([out], () => {
    const [again, ...statistics] = native().normModulate(
      x.handle,
      modulation.handle,
      shift,
      scale,
      norm,
      epsilon,
      dtype,
    )
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
