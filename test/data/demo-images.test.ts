import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { DEMO_CLASSES, renderDemoImage, writeDemoImages } from '../../src/data/demo-images.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16)

test('ten classes with distinct names that can be folders', () => {
  expect(new Set(DEMO_CLASSES).size).toBe(10)
  for (const name of DEMO_CLASSES) expect(name).toMatch(/^[a-z]+$/)
})

describe('an image depends on (seed, class, index, size) alone', () => {
  // Recorded once: a change of these values changes everybody's demo data set.
  const RECORDED: Record<string, string> = {
    disc: 'e424a9d05e283720',
    ring: '8250b3acda61b020',
    square: '47a62cc682128763',
    triangle: 'b3cfb1c0a335822f',
    star: 'ce786e383e898c37',
    cross: 'a2933e5149f418cb',
    spiral: 'ed39829495605278',
    stripes: 'a97dbe21464b4e34',
    checkerboard: 'c61d903497ce370c',
    sunset: '8ea5bc1834910474',
  }

  test.each(DEMO_CLASSES.map((name, index) => [name, index] as const))('%s', (name, classIndex) => {
    const image = renderDemoImage(classIndex, 3, { size: 32, seed: 7 })
    expect(image.length).toBe(32 * 32 * 3)
    expect(sha256(image)).toBe(RECORDED[name])
    expect(renderDemoImage(classIndex, 3, { size: 32, seed: 7 })).toEqual(image)
    expect(renderDemoImage(classIndex, 4, { size: 32, seed: 7 })).not.toEqual(image)
    expect(renderDemoImage(classIndex, 3, { size: 32, seed: 8 })).not.toEqual(image)
    expect(renderDemoImage(classIndex, 3, { size: 32, seed: 7 + 2 ** 32 })).not.toEqual(image)
  })
})

test('a size is another resolution of the same picture', async () => {
  for (const classIndex of DEMO_CLASSES.keys()) {
    const small = renderDemoImage(classIndex, 0, { size: 32 })
    const large = renderDemoImage(classIndex, 0, { size: 64 })
    const halved = await sharp(large, { raw: { width: 64, height: 64, channels: 3 } })
      .resize(32, 32, { kernel: 'linear' })
      .raw()
      .toBuffer()
    const difference = small.reduce((sum, value, i) => sum + Math.abs(value - halved[i]!), 0) / small.length
    // Grain of both (2.5 and, averaged over four pixels, 1.25) and edges drawn sharper; another picture is 30 and more off.
    expect(difference).toBeLessThan(8)
  }
})

test('classes can be told apart: the nearest mean image of another set names the class', () => {
  const perClass = 40
  const features = (classIndex: number, index: number, seed: number) =>
    Float64Array.from(renderDemoImage(classIndex, index, { size: 16, seed }))
  const means = DEMO_CLASSES.map((_, classIndex) => {
    const mean = new Float64Array(16 * 16 * 3)
    for (let index = 0; index < perClass; index++) {
      const image = features(classIndex, index, 1)
      for (let i = 0; i < mean.length; i++) mean[i]! += image[i]! / perClass
    }
    return mean
  })
  let right = 0
  for (const classIndex of DEMO_CLASSES.keys()) {
    for (let index = 0; index < perClass; index++) {
      const image = features(classIndex, index, 2)
      const distances = means.map((mean) => mean.reduce((sum, value, i) => sum + (value - image[i]!) ** 2, 0))
      if (distances.indexOf(Math.min(...distances)) === classIndex) right++
    }
  }
  // Chance is a tenth. Pixels' means know neither moved stripes nor turned checks nor dark grounds, so this is a low bar.
  expect(right / (perClass * 10)).toBeGreaterThan(0.5)
})

test('writes class folders of PNGs, the same bytes each time', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'repa-demo-'))
  try {
    await writeDemoImages(directory, { perClass: 2, size: 16, seed: 5 })
    expect((await readdir(directory)).sort()).toEqual([...DEMO_CLASSES].sort())
    for (const [classIndex, name] of DEMO_CLASSES.entries()) {
      expect((await readdir(join(directory, name))).sort()).toEqual(['00000.png', '00001.png'])
      const decoded = await sharp(join(directory, name, '00001.png'))
        .raw()
        .toBuffer({ resolveWithObject: true })
      expect(decoded.info).toMatchObject({ width: 16, height: 16, channels: 3 })
      expect(new Uint8Array(decoded.data)).toEqual(renderDemoImage(classIndex, 1, { size: 16, seed: 5 }))
    }
    const before = await readFile(join(directory, 'star', '00000.png'))
    await writeDemoImages(directory, { perClass: 1, size: 16, seed: 5 })
    expect(await readFile(join(directory, 'star', '00000.png'))).toEqual(before)
  } finally {
    await rm(directory, { recursive: true })
  }
})

test.each([
  ['class 10', () => renderDemoImage(10, 0), /a class from 0 to 9, got 10/],
  ['class -1', () => renderDemoImage(-1, 0), /a class from 0 to 9, got -1/],
  ['index -1', () => renderDemoImage(0, -1), /index .* at least 0, got -1/],
  ['index 0.5', () => renderDemoImage(0, 0.5), /index .* got 0.5/],
  ['size 4', () => renderDemoImage(0, 0, { size: 4 }), /size .* at least 8, got 4/],
  ['seed NaN', () => renderDemoImage(0, 0, { seed: Number.NaN }), /seed .* got NaN/],
])('refuses %s', (_, render, message) => {
  expect(render).toThrow(message)
})
