import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Model } from '../../src/models/model.ts'
import { type VisionTransformerOptions, visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { VisionNetwork } from '../../src/models/vit-network.ts'
import { ParameterList } from '../../src/nn/parameter-list.ts'
import { type Device, memoryStats } from '../../src/tensor/device.ts'
import { mean, velocityLoss } from '../../src/tensor/ops/loss.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { expectDerivatives, scatterWeights } from '../pretraining/directional-derivatives.ts'
import { type NdArray, random } from '../reference/array.ts'
import { patchFeatures } from '../reference/vit.ts'
import { DEVICES } from '../tensor/devices.ts'

const TINY = { imageSize: 12, patch: 4, hidden: 24, depth: 2, heads: 3, layerScale: false, maskToken: false } as const

/** A network by itself. */
class Single extends Model {
  readonly network: VisionNetwork

  constructor(options: VisionTransformerOptions, device: Device, fixedPositions = true) {
    const list = new ParameterList()
    const network = new VisionNetwork(list, visionTransformerConfigSchema.parse(options), { fixedPositions })
    super(list, device)
    this.network = network
  }

  override dispose(): void {
    this.network.clear()
    super.dispose()
  }
}

/** With the rows of queries and keys as DINOv3's files have them: the pair of a head's columns that turns together d/2 apart. */
function inHalves(
  weights: ReadonlyMap<string, NdArray>,
  { hidden, heads }: { hidden: number; heads: number },
): ReadonlyMap<string, NdArray> {
  const d = hidden / heads
  const halves = ({ shape, data }: NdArray): NdArray => {
    const width = data.length / (3 * hidden)
    const out = data.slice()
    for (let row = 0; row < 2 * hidden; row++) {
      const column = row % d
      const to = row - column + (column % 2) * (d / 2) + Math.floor(column / 2)
      out.set(data.subarray(row * width, (row + 1) * width), to * width)
    }
    return { shape, data: out }
  }
  return new Map([...weights].map(([name, value]) => [name, name.includes('.attn.qkv.') ? halves(value) : value]))
}

/** Terms of each inner product of the network, forwards and back: what one element went through. */
const ROUNDINGS = 2 * TINY.depth * (3 * 24 + 24 + 8 * 24 + 4 * 24) + 48 + 2 * 9

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a vision transformer's gradients on ${device}`, () => {
    let liveBytes: number
    beforeEach(() => {
      liveBytes = memoryStats(device).liveBytes
    })
    afterEach(() => {
      expect(memoryStats(device).liveBytes, 'tensors that were left').toBe(liveBytes)
    })

    const CASES: readonly { name: string; options: VisionTransformerOptions; side: number }[] = [
      { name: 'with a class token', options: TINY, side: 12 },
      { name: 'without one', options: { ...TINY, classToken: false }, side: 12 },
      { name: 'of another grid, its positions resampled', options: TINY, side: 16 },
      {
        name: 'as CLIP: a norm before, none behind, no bias',
        options: { ...TINY, preNorm: true, finalNorm: false, patchBias: false, activation: 'quick-gelu' },
        side: 12,
      },
      {
        name: 'as SigLIP: no class token, the approximate GELU',
        options: { ...TINY, classToken: false, activation: 'gelu-tanh' },
        side: 12,
      },
      {
        name: 'as DINOv3: rotary positions, registers, LayerScale',
        options: { ...TINY, rope: { base: 100 }, registers: 2, layerScale: true, epsilon: 1e-5 },
        side: 16,
      },
    ]
    test.each(CASES)('$name: differences of the float64 reference', async ({ options, side }) => {
      using model = new Single(options, device)
      const { config } = model.network
      model.initialise(1)
      scatterWeights(model)
      model.arena.allocateGradients()
      const image = random([2, 3, side, side], 7)
      const target = random([2, (side / config.patch) ** 2, config.hidden], 8)
      const kept = scope(() => {
        const to = (a: NdArray) => Tensor.from(Float32Array.from(a.data), a.shape, device)
        const [pixels, wanted] = [to(image), to(target)]
        using tape = new Tape()
        const loss = tape.record(() => {
          const { network } = model
          const grid = network.gridOf(pixels)
          const hidden = network.encode(network.embed(pixels, { antialias: true, offset: 0 }), { grid })
          return velocityLoss(network.layerTokens(network.normed(hidden)).patchTokens, wanted)
        })
        tape.backward(model.arena.parameters).dispose()
        return mean(loss)
      })
      using loss = kept

      const reference = (weights: ReadonlyMap<string, NdArray>) => {
        const inFiles = new Map(weights).set('patch_embed.proj.weight', {
          shape: [config.hidden, 3, config.patch, config.patch],
          data: weights.get('patch_embed.proj.weight')!.data,
        })
        const features = patchFeatures(image, { ...config, weights: config.rope ? inHalves(inFiles, config) : inFiles })
        const squares = features.data.reduce((sum, value, i) => sum + (value - target.data[i]) ** 2, 0)
        return squares / features.data.length
      }
      expect(await loss.item()).toBeGreaterThan(0)
      await expectDerivatives(model, reference, ROUNDINGS)
    })

    test('positions that are to be learnt are refused: no gradient would reach them', () => {
      using model = new Single(TINY, device, false)
      model.initialise(1)
      model.arena.allocateGradients()
      using image = Tensor.zeros([1, 3, 12, 12], device)
      expect(() => scope(() => void model.network.embed(image))).toThrow(
        'pos_embed is to be trained, and no gradient reaches it; make the network with fixedPositions.',
      )
    })
  })
}
