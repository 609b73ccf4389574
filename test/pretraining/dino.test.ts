import { describe, expect, test } from 'vitest'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { SelfDistillation } from '../../src/pretraining/dino.ts'
import { drawViews, type Views } from '../../src/pretraining/dino-views.ts'
import type { ImageBatch } from '../../src/pretraining/method.ts'
import type { Device } from '../../src/tensor/device.ts'
import { normalizeImages } from '../../src/tensor/ops/pixels.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { fromValues, map, type NdArray, random, randomIntegers } from '../reference/array.ts'
import { distillationLoss } from '../reference/distillation.ts'
import { DEVICES, isShim } from '../tensor/devices.ts'

const SIZE = 8
const COUNT = 3
const PROTOTYPES = 13
const STATISTICS = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.25] }

const encoder = visionTransformerConfigSchema.parse({
  imageSize: SIZE,
  patch: 2,
  hidden: 16,
  depth: 1,
  heads: 2,
  layerScale: false,
  maskToken: false,
})

const SETTINGS = {
  localViews: 2,
  head: { hidden: 12, bottleneck: 8, prototypes: PROTOTYPES },
  teacherTemperature: [0.04, 0.07] as const,
}

function create(device: Device, { learningRate = 1e-3, settings = SETTINGS } = {}): SelfDistillation {
  return new SelfDistillation(
    { encoder, statistics: STATISTICS, batch: COUNT, learningRate, seed: 4, device },
    settings,
  )
}

const IMAGES: ImageBatch = {
  data: Uint8Array.from(randomIntegers(COUNT * 3 * SIZE * SIZE, 256, 1)),
  count: COUNT,
  size: SIZE,
}

function softmaxRows(logits: NdArray, temperature: number): NdArray {
  const width = logits.shape.at(-1)!
  const values = map(logits, (value) => Math.exp(value / temperature))
  return map(values, (value, i) => {
    const begin = Math.floor(i / width) * width
    return value / values.data.subarray(begin, begin + width).reduce((sum, each) => sum + each, 0)
  })
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`DINO on ${device}`, () => {
    /** The logits [V, B, K] of views by the parameters in use. */
    async function logitsOf({ model }: SelfDistillation, { pixels, views, size }: Views): Promise<NdArray> {
      using logits = scope(() => {
        const bytes = Tensor.from(pixels, [views * COUNT, 3, size, size], device)
        const images = normalizeImages(bytes, { divisor: 255, ...STATISTICS })
        return model.head.forward(model.classTokens(images), model.head.unitPrototypes({ frozen: true }))
      })
      return fromValues([views, COUNT, PROTOTYPES], await logits.data())
    }

    test('compares every view with the other global views of the centred teacher, and moves the centre', async () => {
      using method = create(device)
      const { model, buffers } = method
      using optimizer = new AdamW(model.arena)
      expect(optimizer.options.lossScale).toBe(0)
      // A teacher of other weights than the student's.
      using ema = model.arena.array('ema')
      const values = await ema.data()
      const moved = values.map((value, i) => value * (1 + 0.3 * Math.sin(i)))
      ema.write(moved)
      const before = random([PROTOTYPES], 5, 0.05)
      buffers.centre.write(Float32Array.from(before.data))

      // At the twentieth of a hundred steps the teacher's temperature is two thirds of the way from 0.04 to 0.07.
      const number = { step: 20, total: 100 }
      const losses = method.forwardBackward(IMAGES, number)
      optimizer.step(1, { learningRate: 0, weightDecay: 0, emaDecay: 1 })
      method.afterUpdate(optimizer)
      const { global, local } = drawViews(IMAGES, { localViews: 2, globalSize: 8, localSize: 4 }, { seed: 4, step: 20 })
      const students = [await logitsOf(method, global), await logitsOf(method, local)]
      model.arena.use('ema')
      const teacher = await logitsOf(method, global)
      model.arena.use('weights')
      const centred = map(teacher, (value, i) => value - before.data[i % PROTOTYPES]!)
      const targets = softmaxRows(centred, 0.06)
      const sums = students.map((logits, i) =>
        distillationLoss(logits, targets, { temperature: 0.1, firstView: 2 * i }).data.reduce((a, b) => a + b, 0),
      )
      // Two pairs of global views, and two times two of a local with a global one.
      const expected = (sums[0]! + sums[1]!) / (6 * COUNT)
      expect(await losses.loss.item()).toBeCloseTo(expected, 4)

      const entropies = map(targets, (p) => -p * Math.log(p))
      const ofRows = entropies.data.reduce((a, b) => a + b, 0) / (2 * COUNT)
      expect(await losses.teacher_entropy.item()).toBeCloseTo(ofRows, 4)
      const rows = 2 * COUNT
      const meanOver = (a: NdArray, k: number) =>
        Array.from({ length: rows }, (_, row) => a.data[row * PROTOTYPES + k]!).reduce((x, y) => x + y, 0) / rows
      const divergence = Array.from({ length: PROTOTYPES }, (_, k) => meanOver(targets, k))
        .map((p) => p * Math.log(p * PROTOTYPES))
        .reduce((x, y) => x + y, 0)
      expect(await losses.teacher_kl_uniform.item()).toBeCloseTo(divergence, 4)
      const information = Math.log(PROTOTYPES) - divergence - expected
      expect(await losses.view_information.item()).toBeCloseTo(information, 4)

      const centre = await buffers.centre.data()
      for (const [k, value] of centre.entries()) {
        expect(value).toBeCloseTo(0.9 * before.data[k]! + 0.1 * meanOver(teacher, k), 5)
      }
      for (const tensor of Object.values(losses)) tensor.dispose()
    })

    test('the centre stays where an update is left out, whatever the teacher said', async () => {
      using method = create(device)
      const { model, buffers } = method
      using optimizer = new AdamW(model.arena)
      using gradients = model.arena.array('gradients')
      using ema = model.arena.array('ema')
      const teacher = await ema.data()
      const step = async (damage: () => void) => {
        for (const tensor of Object.values(method.forwardBackward(IMAGES, { step: 20, total: 100 }))) tensor.dispose()
        damage()
        optimizer.step()
        method.afterUpdate(optimizer)
        return { finite: (await optimizer.state()).finite, centre: await buffers.centre.data() }
      }
      const { centre, finite } = await step(() => {})
      expect([finite, centre.every((value) => value !== 0 && Number.isFinite(value))]).toEqual([true, true])
      ema.write(new Float32Array(teacher.length).fill(Number.NaN))
      const damaged = await step(() => gradients.write(new Float32Array(teacher.length).fill(Number.NaN)))
      expect(damaged).toEqual({ finite: false, centre })
    })

    test('the prototypes stay in the first hundredth of a run, and everything else that is trained has a gradient', async () => {
      using method = create(device)
      const { arena, entries } = method.model
      using _ = new AdamW(arena)
      for (const step of [0, 1]) {
        for (const tensor of Object.values(method.forwardBackward(IMAGES, { step, total: 100 }))) tensor.dispose()
        for (const entry of entries) {
          if (!entry.parameter.trainable) continue
          using gradient = arena.view('gradients', entry)
          const isZero = (await gradient.data()).every((value) => value === 0)
          expect(isZero, `the gradient of ${entry.name} in step ${step}`).toBe(
            step === 0 && entry.name === 'head.last_layer.weight_v',
          )
        }
      }
    })

    test('the prototypes are left alone at first, and then updated as by an optimizer that begins', async () => {
      using method = create(device, { learningRate: 0.01 })
      const { arena, head } = method.model
      using optimizer = new AdamW(arena, method.optimizer)
      const [begin, end] = arena.rangesOf((parameter) => parameter === head.prototypes) as [number, number]
      const read = async (role: 'weights' | 'gradients') => (await arena.array(role).data()).subarray(begin, end)
      const states: Float32Array[] = [await read('weights')]
      for (const step of [0, 1]) {
        const number = { step, total: 100 }
        for (const tensor of Object.values(method.forwardBackward(IMAGES, number))) tensor.dispose()
        optimizer.step(1, method.schedule(number))
        states.push(await read('weights'))
      }
      const [start, held, moved] = states as [Float32Array, Float32Array, Float32Array]
      // Without decay too, as torch's optimizer does with what has no gradient.
      expect(held).toEqual(start)
      const { learningRate = 0, weightDecay = 0 } = method.schedule({ step: 1, total: 100 })
      const { gradNorm } = await optimizer.state()
      const clip = Math.min(1, method.optimizer.maxGradNorm / (gradNorm + 1e-6))
      for (const [i, gradient] of (await read('gradients')).entries()) {
        // The corrected moments of a first update are the gradient and its square.
        const move = (clip * gradient) / (Math.abs(clip * gradient) + optimizer.options.epsilon)
        const expected = held[i]! * (1 - learningRate * weightDecay) - learningRate * move
        // The update's sixteen roundings are of its own size, two more of the weight's.
        const bound = 2 ** -24 * (16 * learningRate + 2 * Math.abs(expected))
        expect(Math.abs(moved[i]! - expected)).toBeLessThanOrEqual(bound)
      }
    })

    test('the schedule begins and ends where the paper says', () => {
      using method = create(device, { learningRate: 0.01 })
      const first = method.schedule({ step: 0, total: 1000 })
      expect(first.learningRate).toBeCloseTo(0.01 / 100, 12)
      expect(first.weightDecay).toBeCloseTo(0.04, 12)
      expect(first.emaDecay).toBeCloseTo(0.996, 12)
      const last = method.schedule({ step: 1000, total: 1000 })
      expect(last.learningRate).toBeCloseTo(1e-6, 12)
      expect(last.weightDecay).toBeCloseTo(0.4, 12)
      expect(last.emaDecay).toBe(1)
      // A rate that is below the paper's last does not rise to it.
      using slow = create(device, { learningRate: 1e-7 })
      for (const step of [200, 1000]) expect(slow.schedule({ step, total: 1000 }).learningRate).toBe(1e-7)
    })

    test('what is written as the encoder is the teacher, under the names of a vision transformer', () => {
      using method = create(device)
      expect(method.encoder.role).toBe('ema')
      const names = method.encoder.tensors.map(({ name }) => name)
      expect(names.slice(0, 3)).toEqual(['cls_token', 'pos_embed', 'patch_embed.proj.weight'])
      expect(names.some((name) => name.startsWith('backbone.') || name.startsWith('head.'))).toBe(false)
    })

    // Minutes on the GPU of native/simt, and nothing there that the tests above do not reach.
    test.skipIf(isShim)('learns to tell its images apart, without a collapse', async () => {
      // Stripes that lie, stand or cross, and none: what no crop, mirror image or change of colour makes another.
      const patterns = [
        (x: number) => x & 2,
        (_: number, y: number) => y & 2,
        (x: number, y: number) => (x ^ y) & 2,
        () => 0,
      ]
      const count = 16
      const images: ImageBatch = {
        data: Uint8Array.from({ length: count * 3 * SIZE * SIZE }, (_, i) => {
          const image = Math.floor(i / (3 * SIZE * SIZE))
          return patterns[image % 4]!(i % SIZE, Math.floor(i / SIZE) % SIZE) ? 110 : 20
        }),
        count,
        size: SIZE,
      }
      const total = 400
      using method = new SelfDistillation(
        { encoder, statistics: STATISTICS, batch: count, learningRate: 1e-3, seed: 4, device },
        { ...SETTINGS, teacherDecay: 0.99, teacherTemperature: [0.03, 0.03] },
      )
      using optimizer = new AdamW(method.model.arena, method.optimizer)
      /** What the student knows of the teacher's answer by having seen another view. */
      const known: number[] = []
      for (let step = 0; step < total; step++) {
        const number = { step, total }
        const parts = method.forwardBackward(images, number, optimizer.scaling)
        optimizer.step(1, method.schedule(number))
        method.afterUpdate(optimizer)
        if (step < 20 || step >= total - 50) known.push(await parts.view_information.item())
        for (const tensor of Object.values(parts)) tensor.dispose()
      }
      const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
      // Four kinds that are told apart without fail would make log 4, 1.39.
      expect(mean(known.slice(0, 20))).toBeLessThan(0)
      expect(mean(known.slice(-50))).toBeGreaterThan(0.3)
    })
  })
}
