import { describe, expect, test } from 'vitest'
import { type Norm, native } from '../../../src/native.ts'
import { memoryStats, resetPeakMemory } from '../../../src/tensor/device.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { add } from '../../../src/tensor/ops/elementwise.ts'
import {
  type Joined,
  linearGatedResidualModulate,
  mlpGatedResidualModulate,
} from '../../../src/tensor/ops/half-block.ts'
import { normModulate as modulateOp } from '../../../src/tensor/ops/layer-norm.ts'
import { linearGatedResidual, mlpGatedResidual } from '../../../src/tensor/ops/linear.ts'
import { recordingTape, Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, sum, zeros } from '../../reference/array.ts'
import { gatedResidual, gatedResidualBackward } from '../../reference/gated-residual.ts'
import { layerNormModulate, layerNormModulateBackward } from '../../reference/layer-norm.ts'
import { rmsNormModulate, rmsNormModulateBackward } from '../../reference/rms-norm.ts'
import { DEVICES } from '../devices.ts'
import { reachableBytes } from '../live-bytes.ts'
import { largestOf } from '../rounding.ts'
import { layerNormRounding } from './layer-norm-rounding.ts'
import { type Draw, type OpCase, opCase, testOps, upload } from './op-case.ts'

/** Which of the two results something reads: of both, their sum is the case's result. */
type Read = 'both' | 'modulated'

const EPSILON = 1e-6

/** The native op and its backward pass as an op of the tape; the gradient of `bias` is the sum of y's over all rows. */
function joinAndModulate(t: Readonly<Record<string, Tensor>>, at: Chunks, accumulate: boolean, norm: Norm) {
  const { x, y, modulation, bias } = t
  const { gate, shift, scale } = at
  const handles = native().gatedResidualNormModulate(
    x.handle,
    y.handle,
    modulation.handle,
    gate,
    shift,
    scale,
    norm,
    EPSILON,
  )
  const [stream, modulated, mean, rstd] = handles.map((handle) => new Tensor(handle, x.device))
  recordingTape(x)?.push([stream, modulated], [mean, rstd], (gradients) => {
    const dModulated = gradients.take(modulated)!
    const dStream = gradients.take(stream)
    const { into } = gradients.into(bias)
    if (accumulate) native().fill(into.handle, 1)
    const [dX, dY] = native().gatedResidualNormModulateBackward(
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
      norm,
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
  options: { chunks?: number; at?: Chunks; read?: Read; accumulate?: boolean; norm?: Norm } = {},
): OpCase {
  const {
    chunks = 3,
    at = { gate: 0, shift: 1, scale: 2 },
    read = 'both',
    accumulate = false,
    norm = 'layerNorm',
  } = options
  const [modulate, modulateBackward] =
    norm === 'rmsNorm' ? [rmsNormModulate, rmsNormModulateBackward] : [layerNormModulate, layerNormModulateBackward]
  const [batch, tokens, width] = shape
  const x = draw(shape, 1, 2)
  const y = draw(shape, 2)
  const modulation = draw([batch, chunks, width], 3)
  const stream = gatedResidual(x, y, modulation, at.gate)
  const modulated = modulate(stream, modulation, at, EPSILON)
  return opCase({
    name: `${norm} [${shape}], chunks ${Object.values(at)} of ${chunks}, ${read} read${accumulate ? ', adds to the bias' : ''}`,
    inputs: { x, y, modulation, bias: zeros([width]) },
    compute: ['y'],
    op: (t) => {
      const out = joinAndModulate(t, at, accumulate, norm)
      return read === 'both' ? add(cast(out.modulated, 'f32'), out.stream) : out.modulated
    },
    forward: () => (read === 'both' ? sum(modulated, stream) : modulated),
    backward: (dOut) => {
      const normed = modulateBackward(dOut, stream, modulation, at, EPSILON)
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
      const { out, x: dX, dFactor } = layerNormRounding(stream, EPSILON, 1 + gate, gate, tokens, d, norm)
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

testOps('gatedResidualNormModulate', (draw) => [
  joinCase(draw, [1, 1, 3]),
  joinCase(draw, [1, 1, 72], { chunks: 8, at: { gate: 5, shift: 6, scale: 7 } }),
  joinCase(draw, [3, 3, 33], { read: 'modulated' }),
  joinCase(draw, [2, 257, 72], { chunks: 6, at: { gate: 2, shift: 4, scale: 3 } }),
  joinCase(draw, [2, 257, 72], { read: 'modulated', accumulate: true }),
  joinCase(draw, [1, 40, 1153], { accumulate: true }),
  joinCase(draw, [5, 3, 12], { read: 'modulated' }),
  joinCase(draw, [2, 0, 8]),
  joinCase(draw, [0, 3, 5], { accumulate: true }),
  // Each token with a gate of its own: a bias's gradient is of so many parts that a GPU adds them in two passes.
  joinCase(draw, [2600, 1, 12], { read: 'modulated' }),
  joinCase(draw, [1030, 1, 260], { accumulate: true }),
  ...[200, 384, 768, 1024, 1152, 1540, 2048, 2052].map((width) => joinCase(draw, [2, 5, width])),
  joinCase(draw, [1, 70, 384], { read: 'modulated' }),
  joinCase(draw, [1, 33, 1152], { accumulate: true }),
  joinCase(draw, [3, 3, 33], { read: 'modulated', norm: 'rmsNorm' }),
  joinCase(draw, [2, 257, 72], { chunks: 6, at: { gate: 2, shift: 4, scale: 3 }, norm: 'rmsNorm' }),
  joinCase(draw, [2, 257, 72], { read: 'modulated', accumulate: true, norm: 'rmsNorm' }),
  joinCase(draw, [1, 33, 1152], { accumulate: true, norm: 'rmsNorm' }),
  ...[384, 1792, 2052].map((width) => joinCase(draw, [2, 5, width], { norm: 'rmsNorm' })),
])

// In DiT-DH's head every token has a modulation of its own, and there are tens of thousands.
const GPUS = DEVICES.map(({ device }) => device).filter((device) => device !== 'cpu')

test.each(GPUS)('on %s the sums over the one token of a sample go straight to their place', (device) => {
  const shape = [4096, 1, 64] as const
  const bytes = 4096 * 64 * 4
  /** A block may be a quarter larger than what was asked for (native/core/allocator.cpp); the smallest is 512 bytes. */
  const room = (blocks: number) => (blocks * bytes * 5) / 4 + 1024

  const [x, y, modulation, dModulation, bias] = [
    ...[shape, shape, [4096, 3, 64], [4096, 3, 64], [64]].map((of, seed) => upload(random(of, seed), device)),
  ] as [Tensor, Tensor, Tensor, Tensor, Tensor]
  const [, mean, rstd] = native().normModulate(x.handle, modulation.handle, 1, 2, 'layerNorm', EPSILON, 'f32')
  /** What an op takes at its fullest, beside what was there. */
  const taken = (op: () => unknown) => {
    resetPeakMemory(device)
    const { liveBytes } = memoryStats(device)
    op()
    return memoryStats(device).peakBytes - liveBytes
  }
  const ofNorm = [x.handle, mean, rstd] as const
  const chunks = [1, 2, 'layerNorm'] as const
  const modulated = taken(() =>
    native().normModulateBackward(y.handle, ...ofNorm, modulation.handle, ...chunks, null, dModulation.handle),
  )
  expect(modulated, 'dX').toBeLessThanOrEqual(room(1))
  const joined = taken(() =>
    native().gatedResidualNormModulateBackward(
      ...([y.handle, null, ...ofNorm, y.handle, modulation.handle, 0, ...chunks] as const),
      ...([dModulation.handle, bias.handle, true] as const),
    ),
  )
  expect(joined, "dX, dY and the parts of the bias's gradient").toBeLessThanOrEqual(room(3))
  for (const tensor of [x, y, modulation, dModulation, bias]) tensor.dispose()
})

// A CPU takes the same kernels one by one, so the op and the ops that it joins give the same bits.
describe('a branch that joins the stream, on a CPU', () => {
  const [batch, tokens, width, between] = [2, 5, 24, 40]
  const shapes = {
    x: [batch, tokens, width],
    residual: [batch, tokens, width],
    modulation: [batch, 4, width],
    weight: [width, width],
    bias: [width],
    weight1: [between, width],
    bias1: [between],
    weight2: [width, between],
    bias2: [width],
  }
  type Inputs = Readonly<Record<keyof typeof shapes, Tensor>>
  const next = { shift: 3, scale: 0 }
  const targetOf = ({ residual, modulation }: Inputs) => ({ residual, modulation, gate: 1 })
  const layersOf = ({ weight1, bias1, weight2, bias2 }: Inputs) => [
    { weight: weight1, bias: bias1 },
    { weight: weight2, bias: bias2 },
  ]
  const branches = {
    'one product': {
      joined: (t: Inputs) => linearGatedResidualModulate(t.x, t, targetOf(t), next),
      stream: (t: Inputs) => linearGatedResidual(t.x, t, targetOf(t)),
    },
    'an MLP': {
      joined: (t: Inputs) => mlpGatedResidualModulate(t.x, layersOf(t), 'gelu-tanh', targetOf(t), next),
      stream: (t: Inputs) => mlpGatedResidual(t.x, layersOf(t), 'gelu-tanh', targetOf(t)),
    },
  }
  const reads = {
    'the stream': (joined: Joined) => joined.stream,
    'the modulated stream': (joined: Joined) => joined.modulated,
    both: (joined: Joined) => add(joined.stream, joined.modulated),
  }

  /** The result and the gradients of all inputs. */
  async function run(op: (t: Inputs) => Tensor) {
    const inputs = Object.fromEntries(
      Object.entries(shapes).map(([name, shape], index) => [name, upload(random(shape, index), 'cpu')]),
    ) as Inputs
    using tape = new Tape()
    tape.watch(...Object.values(inputs))
    using out = tape.record(() => op(inputs))
    tape.seed(out, upload(random(out.shape, 99), 'cpu'))
    const gradients = tape.backward()
    const values = [out, ...Object.values(inputs).map((tensor) => gradients.get(tensor))]
    const all = await Promise.all(values.map(async (tensor) => tensor && [...(await tensor.data())]))
    gradients.dispose()
    for (const tensor of Object.values(inputs)) tensor.dispose()
    return all
  }

  describe.each(Object.entries(branches))('%s', (_, { joined, stream }) => {
    test.each(Object.entries(reads))('of which %s is read', async (_, read) => {
      const before = await reachableBytes('cpu')
      const composed = (t: Inputs) => {
        const out = stream(t)
        return read({ stream: out, modulated: modulateOp(out, t.modulation, next) })
      }
      expect(await run((t) => read(joined(t)))).toEqual(await run(composed))
      expect(memoryStats('cpu').liveBytes).toBe(before)
    })
  })
})
