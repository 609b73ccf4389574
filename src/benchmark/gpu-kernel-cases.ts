/** The kernels of a training step on a GPU, each with the arithmetic and the memory traffic that it cannot do without. */
import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { type ComputeDType, DTYPE_BYTES } from '../tensor/dtype.ts'
import { cast } from '../tensor/ops/cast.ts'
import { randomNormal } from '../tensor/random.ts'
import { keep, scope } from '../tensor/scope.ts'
import { type DeviceDType, Tensor } from '../tensor/tensor.ts'
import { STATE_BYTES } from '../training/optimizer.ts'

/** What fixes the shapes. */
export interface GpuKernelSizes {
  readonly depth: number
  readonly hidden: number
  readonly heads: number
  /** Of an image, which is square. */
  readonly tokens: number
  readonly batch: number
  /** Width of the encoder's features, and of the projector's hidden layers. */
  readonly features: number
  readonly projector: number
  /** That the optimizer steps over. */
  readonly parameters: number
}

export interface GpuKernelCase {
  readonly family: 'GEMM' | 'attention' | 'norms' | 'losses' | 'optimizer'
  readonly name: string
  readonly shape: string
  /** FLOP of its products, a multiply-add being two; 0 where it has none. */
  readonly flops: number
  /** Bytes of its operands and results, each once. */
  readonly bytes: number
  /** Makes the operands and returns what enqueues the kernel once. */
  readonly prepare: (operands: Operands) => () => void
}

/** The operands of a case, freed together. */
export class Operands implements Disposable {
  readonly device: Device
  readonly #tensors: Tensor[] = []

  constructor(device: Device) {
    this.device = device
  }

  /** N(0, 1) in a dtype. */
  normal(dtype: ComputeDType, ...shape: number[]): Tensor {
    const key = { seed: 0, stream: 'noise', step: this.#tensors.length } as const
    return this.own(scope(() => cast(randomNormal(shape, key, this.device), dtype)))
  }

  own(tensor: Tensor): Tensor {
    this.#tensors.push(keep(tensor))
    return tensor
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors) tensor.dispose()
  }
}

const EPSILON = 1e-6
/** Of the latents that the step begins with, and of their patches. */
const [CHANNELS, PATCH] = [4, 2]

/** In the order of a step. Every matrix product has `dtype` operands; the residual stream, statistics and losses are f32. */
export function gpuKernelCases(sizes: GpuKernelSizes, dtype: ComputeDType): GpuKernelCase[] {
  const { depth, hidden, heads, tokens, batch, features, projector, parameters } = sizes
  const addon = native()
  const rows = batch * tokens
  const chunks = 6 * depth + 2
  const element = DTYPE_BYTES[dtype]
  /** Bytes of one activation [rows, hidden]: of the residual stream, and in the dtype of computation. */
  const [stream, activation] = [4 * rows * hidden, element * rows * hidden]

  type Outputs = readonly (ConstructorParameters<typeof Tensor>[0] | null)[]
  /** Gives an op's outputs an owner, which frees them at once: memory is stream-ordered. */
  const freed =
    ({ device }: Operands, op: () => Outputs) =>
    () =>
      scope(() => {
        for (const handle of op()) if (handle) new Tensor(handle, device)
      })
  const product = (
    name: string,
    [m, n, k]: readonly [number, number, number],
    extraBytes: number,
    prepare: GpuKernelCase['prepare'],
  ): GpuKernelCase => ({
    family: 'GEMM',
    name,
    shape: `${m} x ${n} x ${k}`,
    flops: 2 * m * n * k,
    bytes: element * (m * k + n * k) + extraBytes,
    prepare,
  })
  const forward = (
    name: string,
    m: number,
    n: number,
    k: number,
    activationKind: 'none' | 'gelu-tanh' | 'silu' = 'none',
  ) => {
    const kept = activationKind !== 'none'
    return product(name, [m, n, k], element * m * n * (kept ? 2 : 1), (operands) => {
      const [x, w, b] = [operands.normal(dtype, m, k), operands.normal(dtype, n, k), operands.normal('f32', n)]
      return freed(operands, () => addon.linear(x.handle, w.handle, b.handle, activationKind, kept, dtype))
    })
  }
  const gated = (name: string, k: number) =>
    product(name, [rows, hidden, k], 2 * stream + activation, (operands) => {
      const [x, w, b] = [
        operands.normal(dtype, batch, tokens, k),
        operands.normal(dtype, hidden, k),
        operands.normal('f32', hidden),
      ]
      const residual = operands.normal('f32', batch, tokens, hidden)
      const modulation = operands.normal('f32', batch, chunks, hidden)
      const last = [residual.handle, modulation.handle, 2, true] as const
      return freed(operands, () => addon.linearGatedResidual(x.handle, w.handle, b.handle, ...last))
    })
  const inputGradient = (name: string, m: number, n: number, k: number, withGelu = false) =>
    product(name, [m, n, k], element * m * n * (withGelu ? 2 : 1), (operands) => {
      const [dOut, w] = [operands.normal(dtype, m, k), operands.normal(dtype, k, n)]
      const pre = withGelu ? operands.normal(dtype, m, n) : null
      const dBias = withGelu ? operands.normal('f32', n) : null
      const kind = withGelu ? 'gelu-tanh' : 'none'
      const last = [pre?.handle ?? null, kind, dBias?.handle ?? null, false] as const
      return freed(operands, () => [addon.linearInputGradient(dOut.handle, w.handle, ...last)])
    })
  const weightGradient = (name: string, m: number, n: number, k: number) =>
    product(name, [m, n, k], 4 * m * n, (operands) => {
      const [dOut, x, into] = [operands.normal(dtype, k, m), operands.normal(dtype, k, n), operands.normal('f32', m, n)]
      return () => addon.linearWeightGradient(dOut.handle, x.handle, into.handle, false)
    })
  /** Widths [out, in] of a block's four layers: qkv, proj, fc1, fc2. */
  const layers = [
    [3 * hidden, hidden],
    [hidden, hidden],
    [4 * hidden, hidden],
    [hidden, 4 * hidden],
  ] as const
  const weights = layers.reduce((sum, [out, input]) => sum + out * input, 0)
  const grouped: GpuKernelCase = {
    family: 'GEMM',
    name: 'four wgrads of a block, one launch',
    shape: `${weights} weights, k ${rows}`,
    flops: 2 * rows * weights,
    bytes: element * rows * layers.reduce((sum, [out, input]) => sum + out + input, 0) + 4 * weights,
    prepare: (operands) => {
      const of = (column: 0 | 1) => layers.map((widths) => operands.normal(dtype, rows, widths[column]).handle)
      const [dOut, x] = [of(0), of(1)]
      const into = layers.map(([out, input]) => operands.normal('f32', out, input).handle)
      return () => addon.linearWeightGradients(dOut, x, into, false)
    },
  }
  const pass = (
    family: GpuKernelCase['family'],
    name: string,
    bytes: number,
    prepare: GpuKernelCase['prepare'],
    shape = `${rows} x ${hidden}`,
  ): GpuKernelCase => ({ family, name, shape, flops: 0, bytes, prepare })
  const statistics = (operands: Operands) => {
    const [mean, rstd] = [
      operands.normal('f32', batch, tokens),
      operands.own(Tensor.full([batch, tokens], 1, operands.device)),
    ]
    return [mean.handle, rstd.handle] as const
  }

  const logits = rows * tokens * hidden
  const attention = (
    name: string,
    products: number,
    passes: number,
    prepare: GpuKernelCase['prepare'],
  ): GpuKernelCase => ({
    family: 'attention',
    name,
    shape: `${batch} x ${heads} heads, ${tokens} x ${hidden / heads}`,
    flops: products * 2 * logits,
    bytes: passes * activation + 4 * rows * heads,
    prepare,
  })

  const patchElements = CHANNELS * PATCH ** 2
  const embedding = (name: string, moreBytes: number, prepare: (operands: Operands, image: Tensor) => () => void) =>
    product(
      name,
      [rows, hidden, patchElements],
      stream + (4 - element) * rows * patchElements + moreBytes,
      (operands) => {
        const side = PATCH * Math.sqrt(tokens)
        return prepare(operands, operands.normal('f32', batch, CHANNELS, side, side))
      },
    )

  return [
    embedding('patch embedding, positions', 4 * tokens * hidden, (operands, image) => {
      const [w, b] = [operands.normal(dtype, hidden, patchElements), operands.normal('f32', hidden)]
      const last = [w.handle, b.handle, operands.normal('f32', tokens, hidden).handle] as const
      return freed(operands, () => [addon.patchEmbed(image.handle, PATCH, ...last)])
    }),
    forward('adaLN of all blocks', batch, chunks * hidden, hidden),
    pass('norms', 'layerNormModulate', stream + activation, (operands) => {
      const x = operands.normal('f32', batch, tokens, hidden)
      const modulation = operands.normal('f32', batch, chunks, hidden)
      return freed(operands, () => addon.normModulate(x.handle, modulation.handle, 0, 1, 'layerNorm', EPSILON, dtype))
    }),
    forward('qkv', rows, 3 * hidden, hidden),
    attention('forward', 2, 4, (operands) => {
      const qkv = operands.normal(dtype, batch, tokens, 3 * hidden)
      return freed(operands, () => addon.attention(qkv.handle, heads, true))
    }),
    gated('proj, gate, residual', hidden),
    pass('norms', 'gatedResidualLayerNormModulate', 2 * stream + 2 * activation, (operands) => {
      const [x, y] = [operands.normal('f32', batch, tokens, hidden), operands.normal(dtype, batch, tokens, hidden)]
      const modulation = operands.normal('f32', batch, chunks, hidden)
      const last = [modulation.handle, 2, 3, 4, 'layerNorm', EPSILON] as const
      return freed(operands, () => addon.gatedResidualNormModulate(x.handle, y.handle, ...last))
    }),
    forward('fc1, GELU', rows, 4 * hidden, hidden, 'gelu-tanh'),
    gated('fc2, gate, residual', 4 * hidden),
    forward('projector, SiLU', rows, projector, projector, 'silu'),
    pass(
      'losses',
      'cosineAlignmentLoss and its gradient',
      2 * element * rows * features + 4 * rows * features,
      (operands) => {
        const projection = operands.normal(dtype, batch, tokens, features)
        const target = operands.normal('f32', batch, tokens, features)
        return freed(operands, () => addon.cosineAlignmentLoss(projection.handle, target.handle, 1, null, true))
      },
      `${rows} x ${features}`,
    ),
    attentionAlignmentCase(sizes, dtype),
    inputGradient('fc2 dgrad, GELU, bias gradient', rows, 4 * hidden, hidden, true),
    inputGradient('fc1 dgrad', rows, hidden, 4 * hidden),
    pass('norms', 'gatedResidualLayerNormModulate backward', 3 * stream + 3 * activation, (operands) => {
      const [dOut, y] = [operands.normal(dtype, batch, tokens, hidden), operands.normal(dtype, batch, tokens, hidden)]
      const [dStream, x] = [
        operands.normal('f32', batch, tokens, hidden),
        operands.normal('f32', batch, tokens, hidden),
      ]
      const [mean, rstd] = statistics(operands)
      const [modulation, into] = [
        operands.normal('f32', batch, chunks, hidden),
        operands.normal('f32', batch, chunks, hidden),
      ]
      const dBias = operands.normal('f32', hidden)
      const last = [modulation.handle, 2, 3, 4, 'layerNorm', into.handle, dBias.handle, false] as const
      const first = [dOut.handle, dStream.handle, x.handle, mean, rstd, y.handle] as const
      return freed(operands, () => addon.gatedResidualNormModulateBackward(...first, ...last))
    }),
    // The logits are computed again: five products.
    attention('backward, bias gradient', 5, 8, (operands) => {
      const qkv = operands.normal(dtype, batch, tokens, 3 * hidden)
      const dO = operands.normal(dtype, batch, tokens, hidden)
      const [o, lse] = addon.attention(qkv.handle, heads, true).map((handle) => {
        return operands.own(new Tensor(handle!, operands.device))
      }) as [Tensor, Tensor]
      const dBias = operands.normal('f32', 3 * hidden)
      const given = [dO.handle, qkv.handle, o.handle, lse.handle] as const
      return freed(operands, () => [addon.attentionBackward(...given, heads, dBias.handle, false)])
    }),
    inputGradient('qkv dgrad', rows, hidden, 3 * hidden),
    pass('norms', 'layerNormModulate backward, adds the residual', 3 * stream + activation, (operands) => {
      const dOut = operands.normal(dtype, batch, tokens, hidden)
      const [x, residual] = [
        operands.normal('f32', batch, tokens, hidden),
        operands.normal('f32', batch, tokens, hidden),
      ]
      const [mean, rstd] = statistics(operands)
      const [modulation, into] = [
        operands.normal('f32', batch, chunks, hidden),
        operands.normal('f32', batch, chunks, hidden),
      ]
      const last = [modulation.handle, 0, 1, 'layerNorm', residual.handle, into.handle] as const
      return freed(operands, () => [addon.normModulateBackward(dOut.handle, x.handle, mean, rstd, ...last)])
    }),
    weightGradient('qkv wgrad', 3 * hidden, hidden, rows),
    weightGradient('fc1 wgrad', 4 * hidden, hidden, rows),
    grouped,
    embedding('patch embedding wgrad, bias gradient', 0, (operands, image) => {
      const dTokens = operands.normal('f32', batch, tokens, hidden)
      const [dWeight, dBias] = [operands.normal('f32', hidden, patchElements), operands.normal('f32', hidden)]
      const last = [PATCH, dtype, dWeight.handle, dBias.handle, false] as const
      return () => addon.patchEmbedBackward(dTokens.handle, image.handle, ...last)
    }),
    weightGradient('adaLN wgrad', chunks * hidden, hidden, batch),
    ...optimizerCases(parameters, dtype),
  ]
}

/** HASTE's loss of one block, and its gradient, beside an encoder of heads of 64. */
function attentionAlignmentCase(
  { hidden, heads, tokens, batch, features }: GpuKernelSizes,
  dtype: ComputeDType,
): GpuKernelCase {
  const teacherHeads = Math.max(1, Math.floor(features / 64))
  const [dims, teacherDims, aligned] = [hidden / heads, features / teacherHeads, Math.min(12, heads, teacherHeads)]
  const head = batch * aligned * tokens
  return {
    family: 'attention',
    name: 'compared with an encoder, gradient (HASTE)',
    shape: `${batch} x ${aligned} heads, ${tokens} x ${dims} and ${teacherDims}`,
    // The scores of both, and two gradients of the model's.
    flops: 2 * head * tokens * (3 * dims + teacherDims),
    // Queries and keys of both, and the whole gradient, which is 0 elsewhere.
    bytes: DTYPE_BYTES[dtype] * (2 * head * (dims + teacherDims) + 3 * batch * tokens * hidden),
    prepare: (operands) => {
      const qkv = operands.normal(dtype, batch, tokens, 3 * hidden)
      const teacher = operands.normal(dtype, batch, 1 + tokens, 3 * features)
      const sizes = [heads, teacher.handle, teacherHeads, aligned] as const
      return () => {
        for (const handle of native().attentionAlignmentLoss(qkv.handle, ...sizes, 1, null, true)) {
          new Tensor(handle!, operands.device).dispose()
        }
      }
    },
  }
}

/** Of the gradient's norm and of adamW with the EMA and the weights' copy that products read. */
function optimizerCases(parameters: number, dtype: ComputeDType): GpuKernelCase[] {
  const addon = native()
  const shape = `${parameters} parameters`
  const state = (operands: Operands) =>
    operands.own(Tensor.from(new Uint8Array(STATE_BYTES), [STATE_BYTES], operands.device))
  const clipping = (operands: Operands, gradient: Tensor, into: Tensor) => {
    const sums = operands.own(Tensor.empty([1], operands.device, 'f64'))
    return () => {
      addon.sumOfSquares(gradient.handle, [], sums.handle, 0)
      addon.clipGradientNorm(sums.handle, into.handle, 1, 1, false)
    }
  }
  const copy: DeviceDType | undefined = dtype === 'f32' ? undefined : dtype
  return [
    {
      family: 'optimizer',
      name: 'clipGradientNorm',
      shape,
      flops: 0,
      bytes: 4 * parameters,
      prepare: (operands) => {
        return clipping(operands, operands.normal('f32', parameters), state(operands))
      },
    },
    {
      family: 'optimizer',
      name: 'AdamW, EMA, weights cast',
      shape,
      flops: 0,
      // Weight, two moments and EMA are read and written, the gradient read, the copy written.
      bytes: (8 * 4 + 4 + (copy ? 2 : 0)) * parameters,
      prepare: (operands) => {
        const [w, g] = [operands.normal('f32', parameters), operands.normal('f32', parameters)]
        const [m, v, ema] = [0, 0, 0].map(() => operands.own(Tensor.zeros([parameters], operands.device))) as [
          Tensor,
          Tensor,
          Tensor,
        ]
        const cast = copy ? operands.own(Tensor.empty([parameters], operands.device, copy)) : undefined
        const into = state(operands)
        // Says that the gradient is finite, without which nothing is updated.
        clipping(operands, g, into)()
        const settings = [1e-4, 0.9, 0.999, 1e-8, 0, 0.9999] as const
        const arrays = [
          w.handle,
          g.handle,
          m.handle,
          v.handle,
          ema.handle,
          cast?.handle ?? null,
          [],
          [],
          into.handle,
          false,
        ] as const
        return () => addon.adamW(...arrays, ...settings, null)
      },
    },
  ]
}
