/**
 * Whether the kernels compute correctly on this machine, at the level in use: what a miscompiled build, an emulated
 * instruction set or a broken memory module would get wrong. Each check compares with float64 results; all take well below a
 * second.
 */
import { SiT } from '../models/sit.ts'
import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { elementCount } from '../tensor/dtype.ts'
import { linear } from '../tensor/ops/linear.ts'
import { mean } from '../tensor/ops/loss.ts'
import { Tensor } from '../tensor/tensor.ts'
import { forwardBackward } from '../training/forward-backward.ts'
import { AdamW, REPA_ADAMW } from '../training/optimizer.ts'
import { SiTObjective } from '../training/sit-objective.ts'

export interface SelfTestCheck {
  readonly name: string
  /** Largest error, in units of what rounding allows: above 1 the check fails. NaN fails too. */
  readonly error: number
  readonly passed: boolean
}

export interface SelfTest {
  readonly checks: readonly SelfTestCheck[]
  readonly passed: boolean
  readonly seconds: number
}

const CHECKS: Readonly<Record<string, (device: Device) => Promise<number>>> = {
  'random numbers': randomNumbers,
  'matrix product': matrixProduct,
  attention: attentionAndGradient,
  'SiT, loss and gradient': modelAndGradient,
  'AdamW and EMA': optimizer,
}

/** Unit roundoff of float32. */
const ROUNDOFF = 2 ** -24

/** Runs every check on every device; those of a GPU say so in their names. Rejects only where an operation throws. */
export async function selfTest(devices: readonly Device[] = ['cpu']): Promise<SelfTest> {
  const began = performance.now()
  const checks: SelfTestCheck[] = []
  for (const device of devices) {
    for (const [name, check] of Object.entries(CHECKS)) {
      const error = await check(device)
      checks.push({ name: device === 'cpu' ? name : `${name} on ${device}`, error, passed: error <= 1 })
    }
  }
  return { checks, passed: checks.every(({ passed }) => passed), seconds: (performance.now() - began) / 1000 }
}

/** The known answer of Philox-4x32-10 for counter and key zero (Random123, kat_vectors). Exact. */
async function randomNumbers(device: Device): Promise<number> {
  const words = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
  using out = Tensor.empty([words.length], device)
  native().fillUniform(out.handle, 0, 1, 0n, 0, 0, 0)
  const numbers = await out.data()
  return words.every((word, i) => numbers[i] === (word >>> 8) / 2 ** 24) ? 0 : Number.POSITIVE_INFINITY
}

/** x Wᵀ + b at a size that fills tiles and leaves rests, on all threads. A sum of k terms errs by at most k+2 roundings. */
async function matrixProduct(device: Device): Promise<number> {
  const [rows, inner, columns] = [301, 389, 203]
  const [x, w, b] = [values([rows, inner], 1), values([columns, inner], 2), values([columns], 3)]
  using xTensor = Tensor.from(x, [rows, inner], device)
  using weight = Tensor.from(w, [columns, inner], device)
  using bias = Tensor.from(b, [columns], device)
  using out = linear(xTensor, { weight, bias })
  const actual = await out.data()
  let worst = 0
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      let [sum, magnitude] = [b[column]!, Math.abs(b[column]!)]
      for (let k = 0; k < inner; k++) {
        const product = x[row * inner + k]! * w[column * inner + k]!
        sum += product
        magnitude += Math.abs(product)
      }
      worst = Math.max(worst, Math.abs(actual[row * columns + column]! - sum) / ((inner + 2) * ROUNDOFF * magnitude))
    }
  }
  return worst
}

/**
 * The output against float64; the gradient by its definition: its product with a direction is the derivative of <output,
 * weights> along it, which a central difference of the float64 output gives. The direction has the gradient's signs, so that
 * nothing cancels and an error of any element shows.
 */
async function attentionAndGradient(device: Device): Promise<number> {
  const [tokens, heads, headDim] = [19, 2, 8]
  const shape = [1, tokens, 3 * heads * headDim]
  const qkv = values(shape, 4)
  const weights = values([1, tokens, heads * headDim], 6)
  using input = Tensor.from(qkv, shape, device)
  using dO = Tensor.from(weights, [1, tokens, heads * headDim], device)
  const [oHandle, lseHandle] = native().attention(input.handle, heads, true)
  using o = new Tensor(oHandle, device)
  using lse = new Tensor(lseHandle!, device)
  using gradient = new Tensor(
    native().attentionBackward(dO.handle, input.handle, o.handle, lse.handle, heads, null, false),
    device,
  )
  const [actual, dQkv] = [await o.data(), await gradient.data()]
  const direction = values(shape, 5).map((value, i) => Math.abs(value) * Math.sign(dQkv[i]!))
  const expected = float64Attention(Float64Array.from(qkv), tokens, heads, headDim)
  const output = Math.max(...expected.map((value, i) => Math.abs(actual[i]! - value)))

  const along = (step: number) =>
    dot(
      float64Attention(
        Float64Array.from(qkv, (value, i) => value + step * direction[i]!),
        tokens,
        heads,
        headDim,
      ),
      weights,
    )
  // Central differences err by h², here 1e-8, and by float64's rounding over h.
  const h = 1e-4
  const slope = (along(h) - along(-h)) / (2 * h)
  // Every element is a chain of sums over tokens and head_dim of values of about one.
  const chain = 4 * (tokens + headDim) * ROUNDOFF
  // Of a gradient of the wrong sign the slope is below zero.
  return Math.max(output / chain, Math.abs(dot(dQkv, direction) - slope) / (chain * Math.abs(slope)))
}

function float64Attention(qkv: Float64Array, tokens: number, heads: number, headDim: number): Float64Array {
  const width = heads * headDim
  const out = new Float64Array(tokens * width)
  const at = (token: number, part: number, head: number, d: number) =>
    qkv[(token * 3 + part) * width + head * headDim + d]!
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < tokens; i++) {
      const exponentials = Array.from({ length: tokens }, (_, j) => {
        let logit = 0
        for (let d = 0; d < headDim; d++) logit += at(i, 0, head, d) * at(j, 1, head, d)
        return Math.exp(logit / Math.sqrt(headDim))
      })
      const total = exponentials.reduce((sum, value) => sum + value, 0)
      for (let d = 0; d < headDim; d++) {
        out[i * width + head * headDim + d] =
          exponentials.reduce((sum, value, j) => sum + value * at(j, 2, head, d), 0) / total
      }
    }
  }
  return out
}

/**
 * A tiny SiT with one projector, all of its tensors filled by `values`. PyTorch 1.13 in float64 (bench/python/sit_repa.py)
 * gave these; in float32 it moves by less than 1e-6 of them, and sums in another order by no more.
 */
const REFERENCE = {
  denoising: [5.639896882324864, 4.415882537352947, 8.873053076159096],
  alignment: -0.014392536565450986,
  gradNorm: 16.032376814058054,
  relativeTolerance: 2e-5,
}

function tinyModel(device: Device): SiT {
  const model = SiT.create(
    { depth: 2, hidden: 24, heads: 2, patch: 2 },
    {
      inputSize: [6, 6],
      channels: 3,
      classes: 5,
      alignDepth: 1,
      alignWidths: [12],
      projectorWidth: 20,
      device,
    },
  )
  for (const [i, entry] of model.entries.entries()) {
    using view = model.arena.view('weights', entry)
    view.write(values(entry.shape, i))
  }
  return model
}

async function modelAndGradient(device: Device): Promise<number> {
  using model = tinyModel(device)
  using adamW = new AdamW(model.arena)
  const losses = lossesOf(model)
  using average = mean(losses.denoising)
  adamW.step()
  const { gradNorm } = await adamW.state()
  const denoising = REFERENCE.denoising.reduce((sum, value) => sum + value / REFERENCE.denoising.length, 0)
  const [alignment] = await losses.alignment!.dataAs('f64')
  const error = [
    [await average.item(), denoising],
    [gradNorm, REFERENCE.gradNorm],
    // A cosine is of the order of 1, whatever its own size.
    [1 + alignment!, 1 + REFERENCE.alignment],
  ].reduce((worst, [actual, expected]) => Math.max(worst, Math.abs(actual! / expected! - 1)), 0)
  losses.denoising.dispose()
  losses.alignment!.dispose()
  return error / REFERENCE.relativeTolerance
}

function lossesOf(model: SiT) {
  const { device } = model
  using latents = Tensor.from(values([3, 3, 6, 6], 101, 4), [3, 3, 6, 6], device)
  using noise = Tensor.from(values([3, 3, 6, 6], 102, 4), [3, 3, 6, 6], device)
  using target = Tensor.from(values([3, 9, 12], 103), [3, 9, 12], device)
  using t = Tensor.from(Float32Array.of(0.125, 0.5, 0.875), [3], device)
  using labels = Tensor.from(Int32Array.of(0, 3, 5), [3], device)
  return forwardBackward(
    model,
    { latents, condition: labels, t, noise, targets: [target] },
    { objective: new SiTObjective(), alignWeight: 0.5 },
  )
}

/**
 * One update from its own gradient, against AdamW's equations in float64. The first moment after one step is (1 − β₁) g, so
 * its bias-corrected value is the clipped gradient g itself.
 */
async function optimizer(device: Device): Promise<number> {
  using model = tinyModel(device)
  const weightDecay = 0.1
  const { learningRate, betas, epsilon, emaDecay, maxGradNorm } = REPA_ADAMW
  using adamW = new AdamW(model.arena, { weightDecay })
  const losses = lossesOf(model)
  losses.denoising.dispose()
  losses.alignment!.dispose()
  const before = await model.arena.array('weights').data()
  const gradients = await model.arena.array('gradients').data()
  adamW.step()
  const { gradNorm } = await adamW.state()
  const clip = Math.min(1, maxGradNorm / (gradNorm + 1e-6))
  const after = await model.arena.array('weights').data()
  const ema = await model.arena.array('ema').data()
  const second = await model.arena.array('secondMoments').data()
  const frozen = model.arena.frozen
  let worst = 0
  for (let i = 0; i < before.length; i++) {
    if (i >= frozen[0]! && i < frozen[1]!) continue
    const g = gradients[i]! * clip
    const decayed = before[i]! * (1 - learningRate * weightDecay)
    const expected = decayed - (learningRate * g) / (Math.abs(g) + epsilon)
    const averaged = emaDecay * before[i]! + (1 - emaDecay) * expected
    // Few roundings each, of the weight and of the step; v of the square.
    const allowed = 4 * ROUNDOFF * (Math.abs(before[i]!) + 16 * learningRate)
    worst = Math.max(worst, Math.abs(after[i]! - expected) / allowed)
    worst = Math.max(worst, Math.abs(ema[i]! - averaged) / allowed)
    const v = (1 - betas[1]) * g * g
    worst = Math.max(worst, Math.abs(second[i]! - v) / (32 * ROUNDOFF * v + 2 ** -126))
  }
  return worst
}

/** Numbers in [−scale/2, scale/2) that any language computes alike: multiples of 1/1009, rounded to float32. */
function values(shape: readonly number[], tensor: number, scale = 1): Float32Array {
  return Float32Array.from(
    { length: elementCount(shape) },
    (_, j) => (((j * 7919 + tensor * 104729) % 1009) / 1009 - 0.5) * scale,
  )
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}
