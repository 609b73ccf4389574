import { native } from '../../../src/native.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { add } from '../../../src/tensor/ops/elementwise.ts'
import { recordingTape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, sum, zeros } from '../../reference/array.ts'
import { gatedResidual, gatedResidualBackward } from '../../reference/gated-residual.ts'
import { layerNormModulate, layerNormModulateBackward } from '../../reference/layer-norm.ts'
import { largestOf } from '../rounding.ts'
import { layerNormRounding } from './layer-norm-rounding.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

/** Which of the two results something reads: of both, their sum is the case's result. */
type Read = 'both' | 'modulated'

const EPSILON = 1e-6

/** The native op and its backward pass as an op of the tape; the gradient of `bias` is the sum of y's over all rows. */
function joinAndModulate(t: Readonly<Record<string, Tensor>>, at: Chunks, accumulate: boolean) {
  const { x, y, modulation, bias } = t
  const { gate, shift, scale } = at
  const handles = native().gatedResidualLayerNormModulate(
    x.handle,
    y.handle,
    modulation.handle,
    gate,
    shift,
    scale,
    EPSILON,
  )
  const [stream, modulated, mean, rstd] = handles.map((handle) => new Tensor(handle, x.device))
  recordingTape(x)?.push([stream, modulated], [mean, rstd], (gradients) => {
    const dModulated = gradients.take(modulated)!
    const dStream = gradients.take(stream)
    const { into } = gradients.into(bias)
    if (accumulate) native().fill(into.handle, 1)
    const [dX, dY] = native().gatedResidualLayerNormModulateBackward(
      dModulated.handle,
      dStream?.handle ?? null,
      stream.handle,
      mean.handle,
      rstd.handle,
      y.handle,
      modulation.handle,
      gate,
      shift,
      scale,
      gradients.chunks(modulation, gate, shift, scale).handle,
      into.handle,
      accumulate,
    )
    gradients.add(x, new Tensor(dX, x.device))
    gradients.add(y, new Tensor(dY, x.device))
  })
  return { stream, modulated }
}

interface Chunks {
  readonly gate: number
  readonly shift: number
  readonly scale: number
}

function joinCase(
  draw: Draw,
  shape: readonly [batch: number, tokens: number, width: number],
  options: { chunks?: number; at?: Chunks; read?: Read; accumulate?: boolean } = {},
): OpCase {
  const { chunks = 3, at = { gate: 0, shift: 1, scale: 2 }, read = 'both', accumulate = false } = options
  const [batch, tokens, width] = shape
  const x = draw(shape, 1, 2)
  const y = draw(shape, 2)
  const modulation = draw([batch, chunks, width], 3)
  const stream = gatedResidual(x, y, modulation, at.gate)
  const modulated = layerNormModulate(stream, modulation, at, EPSILON)
  return opCase({
    name: `[${shape}], chunks ${Object.values(at)} of ${chunks}, ${read} read${accumulate ? ', adds to the bias' : ''}`,
    inputs: { x, y, modulation, bias: zeros([width]) },
    compute: ['y'],
    op: (t) => {
      const out = joinAndModulate(t, at, accumulate)
      return read === 'both' ? add(cast(out.modulated, 'f32'), out.stream) : out.modulated
    },
    forward: () => (read === 'both' ? sum(modulated, stream) : modulated),
    backward: (dOut) => {
      const normed = layerNormModulateBackward(dOut, stream, modulation, at, EPSILON)
      const dx = read === 'both' ? sum(normed.dx, dOut) : normed.dx
      const gated = gatedResidualBackward(dx, y, modulation, at.gate)
      return {
        x: dx,
        y: gated.dy,
        modulation: sum(normed.dModulation, gated.dModulation),
        bias: columnSums(gated.dy, accumulate ? 1 : 0),
      }
    },
    rounding: (dOut) => {
      const [rows, d, gate] = [batch * tokens, largestOf(dOut), largestOf(modulation)]
      const { out, x: dX, dFactor } = layerNormRounding(stream, EPSILON, 1 + gate, gate, tokens, d)
      // The stream's own two roundings reach x̂ as x's would; the branches' gradients meet in one more.
      const roundings = out.roundings + 3
      const scale = dX.scale + d
      const dGate = Math.sqrt(tokens) * scale * largestOf(y)
      return {
        out: { roundings, scale: out.scale + largestOf(stream), computeRoundings: read === 'both' ? 1 : 0 },
        x: { roundings, scale },
        y: { roundings: roundings + 1, scale: scale * gate },
        modulation: { roundings: roundings + tokens + 1, scale: Math.max(dFactor.scale, dGate) },
        bias: { roundings: roundings + rows + 1, scale: Math.sqrt(rows) * scale * gate + 1 },
      }
    },
  })
}

function columnSums(a: NdArray, start: number): NdArray {
  const width = a.shape.at(-1)!
  const sums = map(zeros([width]), () => start)
  for (const [i, value] of a.data.entries()) sums.data[i % width] += value
  return sums
}

testOps('gatedResidualLayerNormModulate', (draw) => [
  joinCase(draw, [1, 1, 3]),
  joinCase(draw, [1, 1, 72], { chunks: 8, at: { gate: 5, shift: 6, scale: 7 } }),
  joinCase(draw, [3, 3, 33], { read: 'modulated' }),
  joinCase(draw, [2, 257, 72], { chunks: 6, at: { gate: 2, shift: 4, scale: 3 } }),
  joinCase(draw, [2, 257, 72], { read: 'modulated', accumulate: true }),
  joinCase(draw, [1, 40, 1153], { accumulate: true }),
  joinCase(draw, [5, 3, 12], { read: 'modulated' }),
  ...[200, 384, 768, 1024, 1152, 1540, 2048, 2052].map((width) => joinCase(draw, [2, 5, width])),
  joinCase(draw, [1, 70, 384], { read: 'modulated' }),
  joinCase(draw, [1, 33, 1152], { accumulate: true }),
])
