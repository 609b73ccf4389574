import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import type { Device } from '../../../src/tensor/device.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { add } from '../../../src/tensor/ops/elementwise.ts'
import { patchEmbed } from '../../../src/tensor/ops/patch-embed.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { type NdArray, random, reshape, sum } from '../../reference/array.ts'
import * as reference from '../../reference/patch-embed.ts'
import { DEVICES } from '../devices.ts'
import { largestNorm, largestOf, type Rounding, squares } from '../rounding.ts'
import { type Draw, type OpCase, opCase, testOps, upload } from './op-case.ts'

interface Embedding {
  readonly batch: number
  readonly channels: number
  /** Tokens. */
  readonly rows: number
  readonly columns: number
  readonly patch: number
  readonly width: number
  /** Default: true. */
  readonly bias?: boolean
}

const EMBEDDINGS: readonly Embedding[] = [
  { batch: 1, channels: 1, rows: 1, columns: 1, patch: 1, width: 1 },
  // As SiT: 16 elements. An odd number of tokens, widths of whole units of 16 bytes or not, and of more columns than a block has.
  { batch: 1, channels: 4, rows: 1, columns: 1, patch: 2, width: 72 },
  { batch: 3, channels: 4, rows: 1, columns: 3, patch: 2, width: 33 },
  { batch: 2, channels: 4, rows: 1, columns: 2, patch: 2, width: 1200 },
  // A block of as many threads as there are, and of as much shared memory: SiT-XL.
  { batch: 2, channels: 4, rows: 1, columns: 2, patch: 2, width: 1152 },
  { batch: 2, channels: 4, rows: 1, columns: 1, patch: 2, width: 1157, bias: false },
  // More samples than a stage has, and gradients of several parts.
  { batch: 75, channels: 4, rows: 3, columns: 5, patch: 2, width: 20 },
  { batch: 35, channels: 3, rows: 2, columns: 3, patch: 2, width: 8, bias: false },
  // Up to 32 and 64 elements.
  { batch: 21, channels: 3, rows: 5, columns: 3, patch: 3, width: 40, bias: false },
  { batch: 18, channels: 8, rows: 2, columns: 2, patch: 2, width: 13 },
  { batch: 21, channels: 3, rows: 3, columns: 3, patch: 4, width: 24 },
  { batch: 2, channels: 4, rows: 2, columns: 2, patch: 4, width: 660 },
  { batch: 3, channels: 1, rows: 1, columns: 257, patch: 7, width: 17 },
  // Beyond: a product.
  { batch: 2, channels: 3, rows: 3, columns: 2, patch: 5, width: 33 },
  { batch: 2, channels: 3, rows: 1, columns: 3, patch: 14, width: 20, bias: false },
  // And of more than one tile of its image, with zeros behind.
  { batch: 1, channels: 301, rows: 1, columns: 16, patch: 1, width: 12 },
  { batch: 1, channels: 1, rows: 1, columns: 2, patch: 67, width: 3 },
]

/** By the law of rounding.ts, with each sum's own terms. */
function roundings(x: NdArray, weight: NdArray, bias: NdArray | undefined, positions: NdArray, dOut: NdArray) {
  const [width, ...patch] = weight.shape
  const elements = patch.reduce((product, size) => product * size, 1)
  const rows = dOut.data.length / width!
  const result = reference.patchEmbed(squares(x), squares(weight), bias && squares(bias), squares(positions))
  const terms = reference.patchEmbedBackward(squares(dOut), squares(x), squares(weight))
  const { dx } = reference.patchEmbedBackward(dOut, x, weight)
  return {
    out: { roundings: elements + 2, scale: largestNorm(result) },
    weight: { roundings: rows, scale: largestNorm(terms.dWeight) },
    bias: { roundings: rows, scale: largestNorm(terms.dBias) },
    // That of the patches is rounded to the dtype of computation on its way.
    image: { roundings: width!, scale: Math.max(largestNorm(terms.dx), largestOf(dx)), computeRoundings: 1 },
  } satisfies Record<string, Rounding>
}

function inputs(draw: Draw, { batch, channels, rows, columns, patch, width, bias = true }: Embedding, seed = 1) {
  const shape = [batch, channels, rows * patch, columns * patch]
  return {
    // What the product reads is rounded to the dtype of computation.
    image: random(shape, seed),
    rounded: draw(shape, seed),
    kernel: draw([width, channels, patch, patch], 2, Math.sqrt(3 / (channels * patch ** 2))),
    bias: bias ? random([width], 3) : undefined,
    positions: random([rows * columns, width], 4),
  }
}

const flat = (kernel: NdArray) => reshape(kernel, [kernel.shape[0]!, kernel.data.length / kernel.shape[0]!])
const layer = (t: Readonly<Record<string, Tensor>>) => ({ weight: t.weight!, bias: t.bias })

function embeddingCase(draw: Draw, embedding: Embedding): OpCase {
  const { image, rounded, kernel, bias, positions } = inputs(draw, embedding)
  return opCase({
    name: Object.entries(embedding)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
    inputs: { image, weight: flat(kernel), ...(bias && { bias }), positions } as Record<string, NdArray>,
    compute: ['weight'],
    op: (t) => patchEmbed(t.image!, embedding.patch, layer(t), t.positions!),
    forward: () => reference.patchEmbed(rounded, kernel, bias, positions),
    backward: (dOut) => {
      const { dx, dWeight, dBias } = reference.patchEmbedBackward(dOut, rounded, kernel)
      return { image: dx, weight: flat(dWeight), ...(bias && { bias: dBias }) }
    },
    rounding: (dOut) => roundings(rounded, kernel, bias, positions, dOut),
  })
}

/** Two images under the same weights, whose gradients are added. */
function sharedCase(draw: Draw, embedding: Embedding): OpCase {
  const { image, rounded, kernel, bias, positions } = inputs(draw, embedding)
  const other = inputs(draw, embedding, 5)
  return opCase({
    name: 'two images under the same weights',
    inputs: { image, other: other.image, weight: flat(kernel), bias: bias!, positions } as Record<string, NdArray>,
    compute: ['weight'],
    op: (t) => {
      const embed = (x: Tensor) => patchEmbed(x, embedding.patch, layer(t), t.positions!)
      return add(embed(t.image!), embed(t.other!))
    },
    forward: () =>
      sum(
        reference.patchEmbed(rounded, kernel, bias, positions),
        reference.patchEmbed(other.rounded, kernel, bias, positions),
      ),
    backward: (dOut) => {
      const of = (x: NdArray) => reference.patchEmbedBackward(dOut, x, kernel)
      const [first, second] = [of(rounded), of(other.rounded)]
      return { weight: flat(sum(first.dWeight, second.dWeight)), bias: sum(first.dBias, second.dBias) }
    },
    rounding: (dOut) => {
      const of = (x: NdArray) => roundings(x, kernel, bias, positions, dOut)
      const [first, second] = [of(rounded), of(other.rounded)]
      const both = (name: 'out' | 'weight' | 'bias'): Rounding => ({
        roundings: first[name].roundings + 1,
        scale: Math.hypot(first[name].scale, second[name].scale),
      })
      return { out: both('out'), weight: both('weight'), bias: both('bias') }
    },
  })
}

testOps('patchEmbed', (draw) => [
  ...EMBEDDINGS.map((embedding) => embeddingCase(draw, embedding)),
  sharedCase(draw, { batch: 2, channels: 4, rows: 2, columns: 3, patch: 2, width: 24 }),
  sharedCase(draw, { batch: 2, channels: 3, rows: 2, columns: 3, patch: 5, width: 24 }),
])

/** Gradients of weight and bias under dTokens. */
function gradients(image: NdArray, dTokens: Tensor, elements: number, patch: number, dtype: 'f32' | 'bf16' | 'f16') {
  const device: Device = dTokens.device
  const width = dTokens.shape.at(-1)!
  return scope(() => {
    const [dWeight, dBias] = [Tensor.empty([width, elements], device), Tensor.empty([width], device)]
    const into = [dWeight.handle, dBias.handle, false] as const
    native().patchEmbedBackward(dTokens.handle, upload(image, device).handle, patch, dtype, ...into)
    return { dWeight, dBias }
  })
}

for (const { device, missing } of DEVICES.filter(({ device }) => device !== 'cpu')) {
  describe.skipIf(missing)(`the gradient of tokens on ${device}`, () => {
    test.each([2, 5].flatMap((patch) => (['bf16', 'f16'] as const).map((dtype) => ({ patch, dtype }))))(
      'patches of $patch: is rounded to $dtype for the weight alone',
      async ({ patch, dtype }) => {
        const image = random([3, 4, 2 * patch, 2 * patch], 1)
        const [exact, rounded] = scope(() => {
          const dTokens = upload(random([3, 4, 12], 2), device)
          const narrow = cast(cast(dTokens, dtype), 'f32')
          return [dTokens, narrow].map((d) => gradients(image, d, 4 * patch ** 2, patch, dtype))
        })
        expect(await exact!.dWeight.data()).toEqual(await rounded!.dWeight.data())
        expect(await exact!.dBias.data()).not.toEqual(await rounded!.dBias.data())
        for (const tensor of [exact, rounded].flatMap((each) => Object.values(each!))) tensor.dispose()
      },
    )
  })
}

for (const { device, missing } of DEVICES) {
  test.skipIf(missing).each([2, 5])(`no columns have no gradients on ${device}: patches of %i`, async (patch) => {
    const image = random([2, 4, 2 * patch, 2 * patch], 1)
    const { dWeight, dBias } = gradients(image, Tensor.empty([2, 4, 0], device), 4 * patch ** 2, patch, 'f32')
    expect([await dWeight.data(), await dBias.data()]).toEqual([new Float32Array(), new Float32Array()])
  })
}
