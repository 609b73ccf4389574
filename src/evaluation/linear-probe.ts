import { KeyedPermutation } from '../data/permutation.ts'
import { native } from '../native.ts'
import { decayFactor } from '../nn/decay.ts'
import type { Device } from '../tensor/device.ts'
import { add, scale } from '../tensor/ops/elementwise.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import { groupNormApply, groupNormCoefficients } from '../tensor/ops/group-norm.ts'
import { linear } from '../tensor/ops/linear.ts'
import { fillNormal } from '../tensor/random.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/** The paper's schedule (REPA, appendix C.1, after l-DAE): Adam from this learning rate along a cosine to 0. */
export interface ProbeSchedule {
  readonly epochs: number
  readonly batch: number
  readonly learningRate: number
}

const PAPER_SCHEDULE: ProbeSchedule = { epochs: 90, batch: 16_384, learningRate: 1e-3 }

/** The paper's, but for what is given. */
export function scheduleOf({ epochs, batch, learningRate }: Partial<ProbeSchedule> = {}): ProbeSchedule {
  return {
    epochs: epochs ?? PAPER_SCHEDULE.epochs,
    batch: batch ?? PAPER_SCHEDULE.batch,
    learningRate: learningRate ?? PAPER_SCHEDULE.learningRate,
  }
}

/** Of the parameter-free batch normalisation, as in MAE's probe, whose first weights these are too. */
const BATCH_NORM_EPSILON = 1e-6
const WEIGHT_STD = 0.01
const ADAM = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const

/** Features [count, width] of one layer with their labels. */
export interface ProbeSet {
  readonly layers: readonly Float32Array[]
  readonly labels: Int32Array
  readonly width: number
}

export interface ProbeOptions {
  readonly train: ProbeSet
  readonly test: ProbeSet
  readonly classes: number
  readonly schedule: ProbeSchedule
  readonly seed: number
  readonly device: Device
  readonly signal?: AbortSignal | undefined
  readonly onEpoch?: (epoch: number) => void
}

export interface ProbeAccuracy {
  /** Top-1, of the test features. */
  readonly accuracy: number
  /** Of the training features. */
  readonly trainAccuracy: number
}

/**
 * Trains one linear classifier per layer, all of them on the same batches, on frozen features behind a batch normalisation without
 * parameters. In training it takes the batch's statistics; the test features are normalised by those of all training features, which
 * is what running averages stand for.
 *
 * @returns for every layer, in order
 */
export async function trainProbes(options: ProbeOptions): Promise<ProbeAccuracy[]> {
  const { train, test, classes, schedule, seed, device, signal, onEpoch } = options
  const count = train.labels.length
  const batch = Math.min(schedule.batch, count)
  const stepsPerEpoch = Math.max(1, Math.floor(count / batch))
  const steps = stepsPerEpoch * schedule.epochs
  const probes = train.layers.map((features, layer) => new Probe(features, train, classes, { seed, device, layer }))
  try {
    for (let epoch = 0; epoch < schedule.epochs; epoch++) {
      const order = new KeyedPermutation(count, seed, epoch)
      for (let b = 0; b < stepsPerEpoch; b++) {
        signal?.throwIfAborted()
        const rows = Int32Array.from({ length: batch }, (_, i) => order.at(b * batch + i))
        const step = epoch * stepsPerEpoch + b
        const rate = schedule.learningRate * decayFactor('cosine', step, steps)
        using ids = Tensor.from(rows, [batch], device)
        using target = negativeOneHot(rows, train.labels, classes, device)
        await Promise.all(probes.map((probe) => probe.step(ids, target, rate)))
      }
      onEpoch?.(epoch + 1)
    }
    const accuracies: ProbeAccuracy[] = []
    for (const [layer, probe] of probes.entries()) {
      using normalisation = probe.normalisation()
      accuracies.push({
        accuracy: await probe.accuracy(test.layers[layer]!, test.labels, normalisation),
        trainAccuracy: await probe.accuracy(train.layers[layer]!, train.labels, normalisation),
      })
    }
    return accuracies
  } finally {
    for (const probe of probes) probe[Symbol.dispose]()
  }
}

/** −1 at each row's class. */
function negativeOneHot(rows: Int32Array, labels: Int32Array, classes: number, device: Device): Tensor {
  const values = new Float32Array(rows.length * classes)
  rows.forEach((row, i) => {
    values[i * classes + labels[row]!] = -1
  })
  return Tensor.from(values, [rows.length, classes], device)
}

/** Rows that are classified at a time. */
const ROWS_AT_ONCE = 8192

/** A layer's classifier. Its Adam runs in float64 beside the device: it has few parameters. */
class Probe implements Disposable {
  readonly #features: Tensor
  readonly #weight: Tensor
  readonly #bias: Tensor
  /** What batch normalisation multiplies and adds: those ops' weight and bias, which it has none of. */
  readonly #ones: Tensor
  readonly #zeros: Tensor
  readonly #adam: readonly [Adam, Adam]

  constructor(
    features: Float32Array,
    { width, labels }: ProbeSet,
    classes: number,
    { seed, device, layer }: { seed: number; device: Device; layer: number },
  ) {
    this.#features = Tensor.from(features, [labels.length, width], device)
    this.#weight = Tensor.empty([classes, width], device)
    fillNormal(this.#weight, WEIGHT_STD, { seed, stream: 'initialisation', step: layer })
    this.#bias = Tensor.zeros([classes], device)
    this.#ones = Tensor.full([width], 1, device)
    this.#zeros = Tensor.zeros([width], device)
    this.#adam = [new Adam(this.#weight), new Adam(this.#bias)]
  }

  /** @param target [B, classes], −1 at each class. */
  async step(ids: Tensor, target: Tensor, rate: number): Promise<void> {
    const [weightGradient, biasGradient] = scope(() => {
      const raw = embedding(this.#features, ids)
      const x = normalised(raw, this.#normalisationOf(raw))
      const logits = linear(x, { weight: this.#weight, bias: this.#bias })
      const probabilities = new Tensor(native().softmax(logits.handle, 1, 'f32'), logits.device)
      // The gradient of the mean cross-entropy: (p − one-hot) / B.
      const dLogits = scale(add(probabilities, target), 1 / ids.elements)
      const dWeight = Tensor.empty(this.#weight.shape, logits.device)
      const dBias = Tensor.empty(this.#bias.shape, logits.device)
      native().linearWeightGradient(dLogits.handle, x.handle, dWeight.handle, false)
      native().columnSum(dLogits.handle, dBias.handle, false)
      return [dWeight, dBias] as const
    })
    using dWeight = weightGradient
    using dBias = biasGradient
    const [ofWeight, ofBias] = await Promise.all([dWeight.data(), dBias.data()])
    await this.#adam[0].step(ofWeight, rate)
    await this.#adam[1].step(ofBias, rate)
  }

  /** Batch normalisation by the statistics of all training features, as `accuracy` takes it. */
  normalisation(): Tensor {
    return scope(() => this.#normalisationOf(this.#features))
  }

  /**
   * The share of rows whose largest logit is their label's.
   *
   * @param normalisation scale and shift of every feature, [1, 2, D]
   */
  async accuracy(features: Float32Array, labels: Int32Array, normalisation: Tensor): Promise<number> {
    const [, width] = this.#weight.shape
    const [classes] = this.#bias.shape
    let right = 0
    for (let first = 0; first < labels.length; first += ROWS_AT_ONCE) {
      const count = Math.min(ROWS_AT_ONCE, labels.length - first)
      using logits = scope(() => {
        const rows = features.subarray(first * width!, (first + count) * width!)
        const x = Tensor.from(rows, [count, width!], this.#features.device)
        return linear(normalised(x, normalisation), { weight: this.#weight, bias: this.#bias })
      })
      const values = await logits.data()
      for (let row = 0; row < count; row++) {
        let best = 0
        for (let k = 1; k < classes!; k++) {
          if (values[row * classes! + k]! > values[row * classes! + best]!) best = k
        }
        if (best === labels[first + row]) right++
      }
    }
    return right / labels.length
  }

  /** Batch normalisation by the statistics of x [N, D], [1, 2, D]: a GroupNorm of one sample whose groups are single channels. */
  #normalisationOf(x: Tensor): Tensor {
    const [rows, width] = x.shape as [number, number]
    const norm = { weight: this.#ones, bias: this.#zeros, groups: width, epsilon: BATCH_NORM_EPSILON }
    return groupNormCoefficients(x.reshape([1, rows, width]), norm)
  }

  [Symbol.dispose](): void {
    for (const tensor of [this.#features, this.#weight, this.#bias, this.#ones, this.#zeros]) tensor.dispose()
  }
}

/** x [B, D] times the scale of every column plus its shift, [1, 2, D]. */
function normalised(x: Tensor, normalisation: Tensor): Tensor {
  const [rows, width] = x.shape as [number, number]
  return groupNormApply(x.reshape([1, rows, width]), normalisation).reshape([rows, width])
}

/** Adam (arXiv 1412.6980) of one tensor, its state in float64 on the host. */
class Adam {
  readonly #tensor: Tensor
  readonly #first: Float64Array
  readonly #second: Float64Array
  #values: Float32Array | undefined
  #steps = 0

  constructor(tensor: Tensor) {
    this.#tensor = tensor
    this.#first = new Float64Array(tensor.elements)
    this.#second = new Float64Array(tensor.elements)
  }

  async step(gradient: Float32Array, rate: number): Promise<void> {
    this.#values ??= await this.#tensor.data()
    this.#steps++
    const { beta1, beta2, epsilon } = ADAM
    const first = 1 - beta1 ** this.#steps
    const second = 1 - beta2 ** this.#steps
    const [m, v, values] = [this.#first, this.#second, this.#values]
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i]!
      m[i] = beta1 * m[i]! + (1 - beta1) * g
      v[i] = beta2 * v[i]! + (1 - beta2) * g * g
      values[i]! -= (rate * (m[i]! / first)) / (Math.sqrt(v[i]! / second) + epsilon)
    }
    this.#tensor.write(values)
  }
}
