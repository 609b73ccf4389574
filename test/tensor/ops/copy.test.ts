import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { DEVICES } from '../devices.ts'

/** Around an access of 16 bytes and a block of 256 of them; from and to where such an access may begin, and where not. */
const LENGTHS = [0, 1, 15, 16, 17, 4095, 4096, 4113, 70_001]
const PLACES = [
  { from: 0, to: 0 },
  { from: 32, to: 16 },
  { from: 3, to: 0 },
  { from: 0, to: 5 },
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`copy on ${device}`, () => {
    test.each(LENGTHS.flatMap((length) => PLACES.map((place) => ({ length, ...place }))))(
      '$length bytes from $from to $to, and nothing around them',
      async ({ length, from, to }) => {
        const source = Uint8Array.from({ length: from + length + 40 }, (_, i) => (i * 7919) >>> 3)
        const target = new Uint8Array(to + length + 40).fill(0xaa)
        using x = Tensor.from(source, [source.length], device)
        using out = Tensor.from(target, [target.length], device)
        using part = x.slice(from, from + length)
        using place = out.slice(to, to + length)
        native().copy(place.handle, part.handle)
        target.set(source.subarray(from, from + length), to)
        expect(await out.dataAs('u8')).toEqual(target)
      },
    )
  })
}
