import { expect, test } from 'vitest'
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  solarise,
  toGreyscale,
} from '../../src/pretraining/colour-adjustments.ts'

/** Black, white, a near grey, the primaries, mixtures of either order of channels, and a colour of the least saturation. */
const PIXELS = '000000ffffff807f80ff000000ff000000fffafa030cc8c7c90dbe5a3c1e216342feffff'

/** What Pillow 9.4 makes of them, the hue as torchvision turns it: by way of mode HSV. */
const CASES: readonly { change: (pixels: Uint8Array, amount: number) => void; amount: number; expected: string }[] = [
  {
    change: adjustBrightness,
    amount: 0.6,
    expected: '0000009999994c4c4c990000009900000099969601077877780772362412133b27989999',
  },
  {
    change: adjustBrightness,
    amount: 1.37,
    expected: '000000ffffffafadafff000000ff000000ffffff0410ffffff11ff7b52292d875affffff',
  },
  {
    change: adjustContrast,
    amount: 0.6,
    expected: '313131cacaca7e7d7eca313131ca313131cac7c73338a9a9aa39a3675543456d59cacaca',
  },
  {
    change: adjustContrast,
    amount: 1.37,
    expected: '000000ffffff818081ff000000ff000000ffffff0000e4e2e500d64d240000592cffffff',
  },
  {
    change: adjustSaturation,
    amount: 0.8,
    expected: '000000ffffff7f7f7fdb0f0f1eea1e0505d1f4f42e26bcbcb21ca9553d25295e44feffff',
  },
  {
    change: adjustSaturation,
    amount: 1.2,
    expected: '000000ffffff807f80ff000000ff000000ffffff0000d3d2df00d25e3a16186740fdffff',
  },
  {
    change: adjustHue,
    amount: -0.1,
    expected: '000000ffffff807f80ff009096ff000096fffa66040dc858610dc95a1e22276321fefffe',
  },
  {
    change: adjustHue,
    amount: 0.07,
    expected: '000000ffffff807f80ff660000ff666600ff9afa040d7fc8c90d775a541e21635cfeffff',
  },
  {
    change: toGreyscale,
    amount: 0,
    expected: '000000ffffff7f7f7f4c4c4c9696961d1d1ddedede9090905959594242424c4c4cffffff',
  },
  {
    change: solarise,
    amount: 128,
    expected: '0000000000007f7f7f0000000000000000000505030c3738360d415a3c1e216342010000',
  },
]

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

test.each(CASES)('$change.name by $amount gives the bytes that Pillow gives', ({ change, amount, expected }) => {
  const pixels = bytes(PIXELS)
  change(pixels, amount)
  expect([...pixels]).toEqual([...bytes(expected)])
})

test.each([
  [49, 100],
  [50, 101],
])('the mean grey is rounded to the nearest level: 100.%i to %i', (higher, level) => {
  const pixels = Uint8Array.from({ length: 300 }, (_, i) => (Math.floor(i / 3) < higher ? 101 : 100))
  adjustContrast(pixels, 0)
  expect(new Set(pixels)).toEqual(new Set([level]))
})
