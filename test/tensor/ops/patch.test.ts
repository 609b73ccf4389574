import { patchify, unpatchify } from '../../../src/tensor/ops/patch.ts'
import { reshape } from '../../../src/tensor/ops/reshape.ts'
import { random, reshape as view } from '../../reference/array.ts'
import * as reference from '../../reference/patches.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

interface Image {
  readonly batch: number
  readonly channels: number
  readonly rows: number
  readonly columns: number
  readonly patch: number
}

const IMAGES: readonly Image[] = [
  { batch: 1, channels: 1, rows: 1, columns: 1, patch: 1 },
  { batch: 1, channels: 4, rows: 1, columns: 1, patch: 2 },
  { batch: 3, channels: 4, rows: 1, columns: 3, patch: 2 },
  { batch: 2, channels: 3, rows: 5, columns: 3, patch: 7 },
  { batch: 1, channels: 3, rows: 2, columns: 2, patch: 14 },
  { batch: 1, channels: 5, rows: 257, columns: 1, patch: 3 },
  // Of more than a block of a GPU takes at once: channels, columns, both; and a patch's own.
  { batch: 2, channels: 300, rows: 2, columns: 16, patch: 1 },
  { batch: 1, channels: 1, rows: 2, columns: 43, patch: 3 },
  { batch: 1, channels: 37, rows: 1, columns: 67, patch: 2 },
  { batch: 1, channels: 3, rows: 1, columns: 2, patch: 70 },
]
const EXACT = { roundings: 0, scale: 0 }
const text = (image: Image) => Object.entries(image).map(([name, value]) => `${name} ${value}`)

const gridOf = ({ channels, rows, columns, patch }: Image) => ({
  patch,
  channels,
  height: rows * patch,
  width: columns * patch,
})

function patchifyCase(draw: Draw, image: Image): OpCase {
  const grid = gridOf(image)
  const x = draw([image.batch, image.channels, grid.height, grid.width], 1)
  return opCase({
    name: text(image).join(', '),
    inputs: { x },
    op: (t, _, dtype) => patchify(t.x, image.patch, dtype),
    forward: () => reference.patchify(x, grid),
    backward: (dOut) => ({ x: reference.patchifyInverse(dOut, grid) }),
    rounding: () => ({ out: EXACT, x: EXACT }),
  })
}

function unpatchifyCase(draw: Draw, image: Image): OpCase {
  const { batch, channels, rows, columns, patch } = image
  const grid = gridOf(image)
  const tokens = draw([batch, rows * columns, patch * patch * channels], 1)
  return opCase({
    name: text(image).join(', '),
    inputs: { tokens },
    compute: ['tokens'],
    op: (t) => unpatchify(t.tokens, grid),
    forward: () => reference.unpatchify(tokens, grid),
    backward: (dOut) => ({ tokens: reference.unpatchifyInverse(dOut, grid) }),
    rounding: () => ({ out: EXACT, tokens: EXACT }),
  })
}

testOps('patchify', (draw) => IMAGES.map((image) => patchifyCase(draw, image)))
testOps('unpatchify', (draw) => IMAGES.map((image) => unpatchifyCase(draw, image)))

testOps(
  'reshape',
  [
    [[6], [2, 3]],
    [[2, 3, 4], [24]],
    [[1], []],
  ].map(([from, to]) => {
    const x = random(from, 1)
    return opCase({
      name: `[${from}] to [${to}]`,
      inputs: { x },
      op: (t) => reshape(t.x, to),
      forward: () => view(x, to),
      backward: (dOut) => ({ x: view(dOut, from) }),
      rounding: () => ({ out: EXACT, x: EXACT }),
    })
  }),
)
