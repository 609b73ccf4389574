import type { TransformerSize } from '../models/presets.ts'
import { native } from '../native.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { STATE_BYTES } from '../training/optimizer.ts'

/** A kernel at a shape of a training step. It is compared with the multiply-add peak (`flops`) or the memory's rate (`bytes`). */
export interface KernelCase {
  readonly family: string
  readonly name: string
  readonly shape: string
  readonly work: { readonly flops: number } | { readonly bytes: number }
  /** Makes the operands (`make`: of random numbers; `own`: another one) and returns what runs the kernel once. */
  readonly prepare: (make: (...shape: number[]) => Tensor, own: (tensor: Tensor) => Tensor) => () => void
}

const FLOAT_BYTES = 4
/** AdamW reads weight, gradient, two moments and EMA, and writes all but the gradient. */
const ADAMW_PASSES = 9
const ADAMW_PARAMETERS = 2 ** 23

/** The kernels of a training step of a SiT of this size, of so many images of so many tokens. */
export function kernelCases(
  { depth, hidden, heads }: TransformerSize,
  { batch, tokens }: { readonly batch: number; readonly tokens: number },
): KernelCase[] {
  const addon = native()
  const rows = batch * tokens
  const chunks = 6 * depth + 2
  const activations = rows * hidden * FLOAT_BYTES
  const matrix = (name: string, m: number, n: number, k: number, prepare: KernelCase['prepare']): KernelCase => {
    return { family: 'GEMM', name, shape: `${m} x ${n} x ${k}`, work: { flops: 2 * m * n * k }, prepare }
  }
  const forward = (name: string, m: number, n: number, k: number, activation: 'none' | 'gelu-tanh' = 'none') =>
    matrix(name, m, n, k, (make) => {
      const [x, w, b] = [make(m, k), make(n, k), make(n)]
      return () => void owned(addon.linear(x.handle, w.handle, b.handle, activation, activation !== 'none', 'f32'))
    })
  const inputGradient = (name: string, m: number, n: number, k: number) =>
    matrix(name, m, n, k, (make) => {
      const [dOut, w] = [make(m, k), make(k, n)]
      return () => void owned([addon.linearInputGradient(dOut.handle, w.handle, null, 'none', null, false)])
    })
  const weightGradient = (name: string, m: number, n: number, k: number) =>
    matrix(name, m, n, k, (make) => {
      const [dOut, x, into] = [make(k, m), make(k, n), make(m, n)]
      return () => addon.linearWeightGradient(dOut.handle, x.handle, into.handle, false)
    })
  const attention = (name: string, products: number, prepare: KernelCase['prepare']): KernelCase => ({
    family: 'attention',
    name,
    shape: `${batch} x ${heads} heads, ${tokens} x ${hidden / heads}`,
    work: { flops: products * 2 * rows * tokens * hidden },
    prepare,
  })
  const pass = (family: string, name: string, passes: number, prepare: KernelCase['prepare']): KernelCase => ({
    family,
    name,
    shape: `${rows} x ${hidden}`,
    work: { bytes: passes * activations },
    prepare,
  })
  return [
    forward('qkv', rows, 3 * hidden, hidden),
    forward('proj', rows, hidden, hidden),
    forward('fc1, GELU', rows, 4 * hidden, hidden, 'gelu-tanh'),
    forward('fc2', rows, hidden, 4 * hidden),
    inputGradient('fc1 dgrad', rows, hidden, 4 * hidden),
    inputGradient('fc2 dgrad', rows, 4 * hidden, hidden),
    weightGradient('fc1 wgrad', 4 * hidden, hidden, rows),
    weightGradient('qkv wgrad', 3 * hidden, hidden, rows),
    {
      // Few rows: reading the weights is what takes the time.
      ...forward('adaLN of all blocks', batch, chunks * hidden, hidden),
      work: { bytes: chunks * hidden * hidden * FLOAT_BYTES },
    },
    attention('forward', 2, (make) => {
      const qkv = make(batch, tokens, 3 * hidden)
      return () => void owned(addon.attention(qkv.handle, heads, true))
    }),
    // The logits are computed again: five products.
    attention('backward', 5, (make) => {
      const [qkv, o, dO, lse] = [
        make(batch, tokens, 3 * hidden),
        make(batch, tokens, hidden),
        make(batch, tokens, hidden),
        make(batch, heads, tokens),
      ]
      return () =>
        void owned([addon.attentionBackward(dO.handle, qkv.handle, o.handle, lse.handle, heads, null, false)])
    }),
    pass('layerNormModulate', 'forward', 2, (make) => {
      const [x, modulation] = [make(batch, tokens, hidden), make(batch, chunks, hidden)]
      return () => void owned(addon.normModulate(x.handle, modulation.handle, 0, 1, 'layerNorm', 1e-6, 'f32'))
    }),
    pass('layerNormModulate', 'backward, adds the residual', 4, (make) => {
      const [dOut, x, residual] = [
        make(batch, tokens, hidden),
        make(batch, tokens, hidden),
        make(batch, tokens, hidden),
      ]
      const [mean, rstd, modulation, into] = [
        make(batch, tokens),
        make(batch, tokens),
        make(batch, chunks, hidden),
        make(batch, chunks, hidden),
      ]
      const last = [modulation.handle, 0, 1, 'layerNorm', residual.handle, into.handle] as const
      return () => void owned([addon.normModulateBackward(dOut.handle, x.handle, mean.handle, rstd.handle, ...last)])
    }),
    pass('gatedResidual', 'backward', 3, (make) => {
      const [dOut, y] = [make(batch, tokens, hidden), make(batch, tokens, hidden)]
      const [modulation, into, bias] = [make(batch, chunks, hidden), make(batch, chunks, hidden), make(hidden)]
      const last = [modulation.handle, 2, into.handle, bias.handle, false] as const
      return () => void owned([addon.gatedResidualBackward(dOut.handle, y.handle, ...last)])
    }),
    pass('columnSum', 'bias gradient', 1, (make) => {
      const [x, out] = [make(rows, hidden), make(hidden)]
      return () => addon.columnSum(x.handle, out.handle, false)
    }),
    {
      family: 'AdamW',
      name: 'with EMA',
      shape: `${ADAMW_PARAMETERS} parameters`,
      work: { bytes: ADAMW_PASSES * ADAMW_PARAMETERS * FLOAT_BYTES },
      prepare: (make, own) => {
        const [w, g, m, v, ema] = Array.from({ length: 5 }, () => make(ADAMW_PARAMETERS)) as [
          Tensor,
          Tensor,
          Tensor,
          Tensor,
          Tensor,
        ]
        const state = own(Tensor.from(new Uint8Array(STATE_BYTES), [STATE_BYTES], w.device))
        const sums = own(Tensor.empty([1], w.device, 'f64'))
        // Say that the gradient is finite, without which nothing is updated.
        addon.sumOfSquares(g.handle, [], sums.handle, 0)
        addon.clipGradientNorm(sums.handle, state.handle, 1, 1, false)
        const settings = [1e-4, 0.9, 0.999, 1e-8, 0, 0.9999] as const
        const arrays = [w.handle, g.handle, m.handle, v.handle, ema.handle, null, [], [], state.handle, false] as const
        return () => addon.adamW(...arrays, ...settings, null)
      },
    },
  ]
}

/** Gives an op's outputs an owner: the scope around, which frees them. */
function owned(handles: readonly (ConstructorParameters<typeof Tensor>[0] | null)[]): void {
  scope(() => {
    for (const handle of handles) if (handle) new Tensor(handle, 'cpu')
  })
}
