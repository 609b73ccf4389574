/** What sFID and the Inception Score are computed from, of the whole network with formula weights. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadInceptionNetwork } from '../../src/evaluation/feature-network.ts'
import { admInceptionInput } from '../../src/evaluation/inception-input.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { InceptionV3 } from '../../src/models/inception.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { planar } from '../../src/tensor/planes.ts'
import { keep, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { formulaWeights } from '../models/formula-weights.ts'
import { random } from '../reference/array.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const IMAGES = { count: 2, height: 64, width: 64 } as const
/** Of mixed_6: 17 × 17 pixels of 768 channels, of which sFID takes the first seven of the first branch. */
const [PIXELS, WIDTH, TAKEN] = [17 * 17, 768, 7]
const EPSILON = 0.001
const UNIT = 2 ** -24

/** The largest distance in units of its own bound. */
function worst(actual: ArrayLike<number>, expected: readonly { value: number; bound: number }[]): number {
  expect(actual).toHaveLength(expected.length)
  return expected.reduce((most, { value, bound }, i) => Math.max(most, Math.abs(actual[i]! - value) / bound), 0)
}

describe.skipIf(!haveGolden)(`the Inception network${goldenSuffix}`, () => {
  test("gives sFID's features and the logits without their bias", async () => {
    const weights = formulaWeights(join(goldenFolder, 'formula/inception-fid.table.json'))
    const valuesOf = async (name: string) => toFloat32(await weights.read(name))
    const pixels = Uint8Array.from(
      random([IMAGES.count * IMAGES.height * IMAGES.width * 3], 6).data,
      (value) => 128 + 60 * value,
    )
    const mixed6c = await (async () => {
      using model = new InceptionV3('cpu')
      await model.load(weights)
      let shown: Tensor | undefined
      scope(() => {
        const planes = planar(pixels, IMAGES.height * IMAGES.width)
        const images = Tensor.from(planes, [IMAGES.count, 3, IMAGES.height, IMAGES.width], 'cpu')
        model.forward(admInceptionInput(images), (name, tensor) => {
          if (name === 'mixed6c') shown = keep(tensor.alias())
        })
      })
      using tensor = shown!
      expect(tensor.shape).toEqual([IMAGES.count, 17, 17, WIDTH])
      return await tensor.data()
    })()

    const file = join(temporaryFolder(), 'inception.safetensors')
    const tensors = weights.names.map(async (name) => ({ name, ...(await weights.read(name)) }))
    await writeSafetensors(file, await Promise.all(tensors))
    using network = await loadInceptionNetwork(file, { device: 'cpu' })
    const { features, spatial, logits } = await network.run({ ...IMAGES, pixels })

    const name = 'Mixed_6d.branch1x1'
    const weight = await valuesOf(`${name}.conv.weight`)
    const norm = await Promise.all(
      ['weight', 'bias', 'running_mean', 'running_var'].map((part) => valuesOf(`${name}.bn.${part}`)),
    )
    const ofPixels = Array.from({ length: IMAGES.count * PIXELS * TAKEN }, (_, i) => {
      const [pixel, channel] = [Math.floor(i / TAKEN), i % TAKEN]
      const [gamma, beta, mean, variance] = norm.map((values) => values[channel]!) as [number, number, number, number]
      const scale = gamma / Math.sqrt(variance + EPSILON)
      const bias = beta - mean * scale
      let [sum, magnitude] = [bias, Math.abs(bias)]
      for (let k = 0; k < WIDTH; k++) {
        const term = scale * weight[channel * WIDTH + k]! * mixed6c[pixel * WIDTH + k]!
        sum += term
        magnitude += Math.abs(term)
      }
      // Each term is rounded as a folded weight, as a product and in the sum.
      return { value: Math.max(0, sum), bound: (WIDTH + 2) * UNIT * magnitude }
    })
    expect(worst(spatial!, ofPixels)).toBeLessThan(1)
    // The bound tells one channel from another, and not all of it is cut off at 0.
    const isTold = ofPixels.filter(({ value, bound }) => value > 100 * bound).length
    expect(isTold).toBeGreaterThan(ofPixels.length / 10)

    const head = await valuesOf('fc.weight')
    const [classes, width] = weights.shapeOf('fc.weight') as [number, number]
    expect([classes, width, features.length]).toEqual([1008, 2048, IMAGES.count * 2048])
    const scores = Array.from({ length: IMAGES.count * classes }, (_, i) => {
      const [image, k] = [Math.floor(i / classes), i % classes]
      let [sum, magnitude] = [0, 0]
      for (let c = 0; c < width; c++) {
        const term = head[k * width + c]! * features[image * width + c]!
        sum += term
        magnitude += Math.abs(term)
      }
      return { value: sum, bound: width * UNIT * magnitude }
    })
    expect(worst(logits!, scores)).toBeLessThan(1)
    // With the bias they would be others.
    const bias = await valuesOf('fc.bias')
    const largest = Math.max(...scores.map(({ bound }) => bound))
    expect(Math.max(...bias.map(Math.abs))).toBeGreaterThan(10 * largest)
  })
})
