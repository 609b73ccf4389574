import { describe, expect, test } from 'vitest'
import { expectClose, fromValues, type NdArray } from './array.ts'
import { type GoldenFile, goldenDirectory, goldenFiles, goldenTensors } from './golden.ts'
import { sinCosPosEmbed } from './pos-embed.ts'
import { type ResizeOptions, resize, resizeTaps } from './resize.ts'
import { timestepEmbedding } from './timestep-embedding.ts'

function get(tensors: ReadonlyMap<string, NdArray>, name: string): NdArray {
  const tensor = tensors.get(name)
  if (!tensor) throw new Error(`The golden file holds no ${name}.`)
  return tensor
}

function only(kind: string): GoldenFile {
  const [file, ...others] = goldenFiles(kind)
  if (!file || others.length > 0) throw new Error(`Expected one golden file of the kind ${kind}.`)
  return file
}

describe.skipIf(!goldenDirectory)('tables agree with the reference PyTorch code', () => {
  test('sin-cos positions', () => {
    const file = only('table.pos-embed')
    for (const [name, expected] of file.tensors()) {
      const [, dim, grid] = name.split('_').map(Number)
      expectClose(name, sinCosPosEmbed(dim, grid), expected, file.tolerance(name))
    }
  })

  test('timestep features', () => {
    const file = only('table.timestep')
    const golden = file.tensors()
    for (const name of file.names('output')) {
      const dim = Number(name.split('_')[1])
      expectClose(name, timestepEmbedding(get(golden, 't'), dim), get(golden, name), file.tolerance(name))
    }
  })

  test('positions resampled as timm does: bicubic, antialiased', () => {
    const file = only('table.pos-resample')
    const golden = file.tensors()
    for (const name of file.names('output')) {
      const table = get(golden, name.replace('out', 'in'))
      const expected = get(golden, name)
      const grid = Math.sqrt(expected.shape[1] - 1)
      const resampled = resampleTable(table, grid, grid, { method: 'bicubic', antialias: true })
      expectClose(name, resampled, expected, file.tolerance(name))
    }
  })

  test.each(goldenFiles('dinov2.forward').map((file) => [file.path, file] as const))(
    'positions of %s',
    (path, file) => {
      const golden = file.tensors()
      const [, , height, width] = get(golden, 'x').shape
      const params = file.args.params
      if (typeof params !== 'string') throw new Error(`${path} names no parameters.`)
      const parameters = goldenTensors(params)
      const table = get(parameters, 'pos_embed')
      const patch = get(parameters, 'patch_embed.proj.weight').shape[2]
      const trained = Math.sqrt(table.shape[1] - 1)
      const rows = height / patch
      const columns = width / patch
      // DINOv2 with registers gives the size, without them a scale factor that is 0.1 of a patch too large.
      const options: ResizeOptions = parameters.has('register_tokens')
        ? { method: 'bicubic', antialias: true }
        : { method: 'bicubic', antialias: false, scaleFactor: [(rows + 0.1) / trained, (columns + 0.1) / trained] }
      const skipped = rows * columns === trained * trained && rows === columns
      const actual = skipped ? table : resampleTable(table, rows, columns, options)
      expectClose('pos_embed_used', actual, get(golden, 'pos_embed_used'), file.tolerance('pos_embed_used'))
    },
  )
})

// [1, 1 + G * G, D] -> [1, 1 + rows * columns, D]: the class token stays, the grid is resized channel by channel.
function resampleTable(table: NdArray, rows: number, columns: number, options: ResizeOptions): NdArray {
  const [, tokens, dim] = table.shape
  const grid = Math.sqrt(tokens - 1)
  const out = [...table.data.subarray(0, dim)]
  for (let channel = 0; channel < dim; channel++) {
    const plane = Array.from({ length: grid * grid }, (_, i) => table.data[(1 + i) * dim + channel])
    const resized = resize(fromValues([grid, grid], plane), rows, columns, options)
    for (const [i, value] of resized.data.entries()) out[(1 + i) * dim + channel] = value
  }
  return fromValues([1, 1 + rows * columns, dim], out)
}

const kernels = (['bicubic', 'bilinear'] as const).flatMap((method) =>
  [true, false].map((antialias): ResizeOptions => ({ method, antialias })),
)

describe.each(kernels)('resize $method, antialias $antialias', (options) => {
  test.each([
    [1, 1],
    [7, 7],
    [3, 8],
    [9, 4],
    [37, 16],
  ])('weights from %i to %i sum to 1 and mirror', (input, output) => {
    const taps = resizeTaps(input, output, options)
    const dense = taps.map((row) => {
      const weights = new Float64Array(input)
      for (const { index, weight } of row) weights[index] += weight
      return weights
    })
    for (const [i, weights] of dense.entries()) {
      expect(weights.reduce((a, c) => a + c)).toBeCloseTo(1, 12)
      for (const [j, weight] of weights.entries()) {
        expect(weight).toBeCloseTo(dense[output - 1 - i][input - 1 - j], 12)
      }
    }
  })

  test('the same size is the same image', () => {
    const image = fromValues([2, 3], [1, 2, 3, 5, 8, 13])
    expectClose('resized', resize(image, 2, 3, options), image, { atol: 1e-15, rtol: 0 })
  })
})

// By hand: half-pixel centres, 2 -> 4 lies at -0.25, 0.25, 0.75, 1.25.
test('bilinear doubles with weights of a quarter', () => {
  const doubled = resize(fromValues([1, 2], [0, 4]), 1, 4, { method: 'bilinear', antialias: false })
  expectClose('doubled', doubled, fromValues([1, 4], [0, 1, 3, 4]), { atol: 0, rtol: 0 })
})
