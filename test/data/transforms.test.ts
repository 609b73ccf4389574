import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { type ResamplingFilter, resize } from '../../src/data/resample.ts'
import { cropImage, type RgbImage } from '../../src/data/rgb-image.ts'
import { centerCropDhariwal, type Transform, transformImage } from '../../src/data/transforms.ts'
import { goldenSuffix, haveGolden } from '../shared-folder.ts'
import { goldenTensors } from './golden.ts'
import { maxDifference } from './max-difference.ts'
import { syntheticImage } from './synthetic-image.ts'

function digest(image: RgbImage): string {
  return createHash('sha256').update(image.data).digest('hex').slice(0, 16)
}

// SHA-256 of the pixels that Pillow 9.4 makes of the same synthetic image: the agreement is to the bit.
const RESIZED: [ResamplingFilter, number, number, number, number, string][] = [
  ['box', 64, 48, 32, 24, 'fcb4b902a5fd6952'],
  ['box', 77, 101, 38, 50, 'fc31fefe4c2d7965'],
  ['box', 64, 51, 32, 25, '75ffb5e6f6de7971'],
  ['box', 10, 10, 23, 17, 'd68bd957ac9bb973'],
  ['bicubic', 100, 77, 96, 74, 'd8ad137d2627cbb9'],
  ['bicubic', 64, 64, 200, 131, 'c3545642a4304740'],
  ['bicubic', 300, 5, 17, 64, 'c893ee8d0813baad'],
  ['bicubic', 40, 30, 40, 15, 'cffdac64dc9a81e4'],
  ['bicubic', 40, 30, 20, 30, '4176ab3e13184eea'],
  ['lanczos', 97, 64, 31, 31, '8dcc1cbecb62f21b'],
  ['lanczos', 31, 17, 64, 64, 'f245d2cfdce1132c'],
  ['lanczos', 500, 3, 2, 9, '185d26d761d89e49'],
  ['bicubic', 1, 1, 4, 4, '7e69e2dd3e36c500'],
]

describe('resize', () => {
  test.each(RESIZED)(
    '%s %d×%d to %d×%d has the bits of Pillow',
    (filter, width, height, toWidth, toHeight, expected) => {
      expect(digest(resize(syntheticImage(width, height), toWidth, toHeight, filter))).toBe(expected)
    },
  )

  test.each([
    [100, 77, 96, 74, { left: 11, top: 5, width: 64, height: 64 }],
    [30, 40, 60, 80, { left: 0, top: 79, width: 60, height: 1 }],
    [50, 40, 50, 20, { left: 7, top: 3, width: 20, height: 10 }],
    [50, 40, 25, 40, { left: 1, top: 39, width: 24, height: 1 }],
  ] as const)('%d×%d to %d×%d: a window is the crop of the whole', (width, height, toWidth, toHeight, window) => {
    const image = syntheticImage(width, height)
    const whole = resize(image, toWidth, toHeight, 'bicubic')
    const expected = cropImage(whole, window.left, window.top, window.width, window.height)
    expect(resize(image, toWidth, toHeight, 'bicubic', window)).toEqual(expected)
  })

  test('refuses a window outside the result', () => {
    expect(() => resize(syntheticImage(4, 4), 8, 8, 'box', { left: 4, top: 0, width: 5, height: 8 })).toThrow(
      'a window of 5×8 at (4, 0) does not lie inside 8×8',
    )
  })
})

const TRANSFORMED: [Transform, number, number, number, number, string][] = [
  ['center-crop-dhariwal', 512, 384, 64, 64, '9f60fedbf00a21c5'],
  ['center-crop-dhariwal', 201, 333, 64, 64, 'a4a6c71de2239bad'],
  ['center-crop-dhariwal', 385, 257, 64, 64, 'ac3c8d1f10d82a64'],
  ['center-crop-dhariwal', 64, 64, 64, 64, 'bb6515e35f63e5f7'],
  ['center-crop-dhariwal', 50, 31, 48, 48, '743c6660e8df7789'],
  ['center-crop-dhariwal', 3, 400, 32, 32, '18e43f22883eacaf'],
  ['center-crop-dhariwal', 45, 30, 20, 20, 'b9b1ca09465f1105'],
  ['center-crop', 133, 100, 64, 64, '5fc9ee1e8eaca9a1'],
  ['center-crop', 100, 135, 100, 100, 'd77c488eb3ca390b'],
  ['center-crop-wide', 200, 150, 64, 36, 'ba8820ea6f27529b'],
  ['center-crop-wide', 99, 160, 33, 33, 'eb5e817365d1dc81'],
  ['none', 133, 100, 64, 64, '77ad5cc931cafe71'],
]

describe('transformImage', () => {
  test.each(TRANSFORMED)(
    '%s of %d×%d to %d (strip %d) has the bits of Pillow',
    (transform, width, height, size, wide, expected) => {
      const image = transformImage(syntheticImage(width, height), transform, size, wide)
      expect(image).toMatchObject({ width: size, height: size })
      expect(digest(image!)).toBe(expected)
    },
  )

  test.each([
    ['narrower than the target', 63, 100, 36],
    ['too flat for the strip', 200, 100, 36],
  ])('center-crop-wide leaves out a picture that is %s', (_, width, height, wide) => {
    expect(transformImage(syntheticImage(width, height), 'center-crop-wide', 64, wide)).toBeUndefined()
  })

  test('an extreme aspect ratio costs only its crop', () => {
    // Scaled whole, this picture would need 256 × 2,560,000 pixels.
    expect(centerCropDhariwal(syntheticImage(1, 10_000), 256)).toMatchObject({ width: 256, height: 256 })
  })
})

const tensors = await goldenTensors('preprocess/preprocess.crop.safetensors')

describe.skipIf(!haveGolden)(`golden preprocess.center-crop${goldenSuffix}`, () => {
  const cases = [...tensors].filter(([name]) => name.includes('.out_'))
  test('has cases', () => expect(cases).toHaveLength(4))
  // The manifest allows a difference of 1; there is none.
  test.each(cases)('%s', (name, expected) => {
    const [index, size] = name.split('.out_')
    const { shape, data } = tensors.get(`${index}.in`)!
    const image = centerCropDhariwal({ width: shape[1]!, height: shape[0]!, data }, Number(size))
    expect(maxDifference(image.data, expected.data)).toBe(0)
  })
})
