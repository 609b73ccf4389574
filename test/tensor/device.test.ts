import { describe, expect, test } from 'vitest'
import { loadAutoencoder, loadEncoder, SiT } from '../../src/index.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { deviceOf, resolveDevice } from '../../src/tensor/device.ts'
import { DEVICES } from './devices.ts'

const [gpu] = DEVICES.filter(({ device, missing }) => device !== 'cpu' && !missing)
const SIZE = { depth: 1, hidden: 16, heads: 1, patch: 2 } as const
const OPTIONS = { inputSize: [4, 4] as [number, number], classes: 2 }

describe('a device by what a user calls it', () => {
  test('auto is the first GPU, or the CPU where there is none', () => {
    expect(resolveDevice('cpu')).toBe('cpu')
    expect(resolveDevice('auto')).toBe(gpu?.device ?? 'cpu')
  })

  test('cuda is that GPU too, and where there is none the reason is said', () => {
    if (gpu) {
      expect([resolveDevice('cuda'), resolveDevice(gpu.device)]).toEqual([gpu.device, gpu.device])
      expect(() => resolveDevice('cuda:99')).toThrow(/^There is no cuda:99 here; there (is|are) cuda:0 \(/)
    } else {
      for (const name of ['cuda', 'cuda:0']) expect(() => resolveDevice(name)).toThrow(`There is no ${name} here: `)
    }
  })

  test('a device that is one already is not looked for', () => {
    expect([deviceOf('cpu'), deviceOf('cuda:7')]).toEqual(['cpu', 'cuda:7'])
    expect(deviceOf('auto')).toBe(resolveDevice('auto'))
  })
})

describe("the library's calls take the same names", () => {
  test('auto', async () => {
    using model = SiT.create(SIZE, { ...OPTIONS, device: 'auto' })
    expect(model.device).toBe(resolveDevice('auto'))
    using encoder = await loadEncoder('hog', undefined, { device: 'auto' })
    expect(encoder.name).toBe('hog')
    using vit = VisionTransformer.create({ imageSize: 4, ...SIZE }, { device: 'auto' })
    expect(vit.device).toBe(resolveDevice('auto'))
  })

  test('cuda', async () => {
    const create = () => SiT.create(SIZE, { ...OPTIONS, device: 'cuda' })
    if (gpu) {
      using model = create()
      expect(model.device).toBe(gpu.device)
    } else {
      expect(create).toThrow('There is no cuda here: ')
      await expect(loadAutoencoder('nowhere', { device: 'cuda' })).rejects.toThrow('There is no cuda here: ')
    }
  })
})
