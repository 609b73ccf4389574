import { describe, expect, test } from 'vitest'
import { hostFloat32, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { everyNth } from '../../src/verification/kinds/every-nth.ts'

/** 0, 1, 2, … along the middle axis. */
const counting = (length: number) =>
  hostFloat32(
    Float32Array.from({ length: 2 * length * 3 }, (_, i) => Math.floor(i / 3) % length),
    [2, length, 3],
  )

const cases = [
  { desc: 'projector output, every 16th token', length: 256, kept: 16, last: 240 },
  { desc: 'every 16th row', length: 257, kept: 17, last: 256 },
  // 86 is the smallest that keeps three.
  { desc: 'every 100th row [1,3,3,224]', length: 256, kept: 3, last: 200 },
  { desc: 'some rows', length: 256, kept: 3, last: 172 },
  { desc: 'every 3rd of 9', length: 9, kept: 3, last: 6 },
]

describe('everyNth', () => {
  test.each(cases)('"$desc": $kept of $length', ({ desc, length, kept, last }) => {
    const chosen = everyNth(counting(length), 1, { shape: [2, kept, 3], desc })
    expect(chosen.shape).toEqual([2, kept, 3])
    const values = toFloat32(chosen)
    expect([values[0], values.at(-1)]).toEqual([0, last])
  })

  test('a number of rows that the description does not give is an error', () => {
    expect(() => everyNth(counting(256), 1, { shape: [2, 15, 3], desc: 'every 16th token' })).toThrow(
      'Every 16th of 256 along axis 1 of a tensor of shape [2,256,3] is 16; the file keeps 15.',
    )
  })
})
