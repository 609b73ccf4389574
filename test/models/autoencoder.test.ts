import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { TaesdDecoder, TaesdEncoder } from '../../src/models/taesd.ts'
import { blendTiles, tilePlaces } from '../../src/models/tiles.ts'
import { memoryStats, setMemoryLimit } from '../../src/tensor/device.ts'
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { randomState } from './random-state.ts'

const CONFIG = autoencoderKLConfigSchema.parse({ blockChannels: [8, 16, 24], layersPerBlock: 1, normGroups: 4 })
/** As diffusers writes it; what it says beyond the sizes is left alone. */
const DIFFUSERS = {
  _class_name: 'AutoencoderKL',
  act_fn: 'silu',
  block_out_channels: [8, 16, 24],
  norm_num_groups: 4,
  sample_size: 32,
  down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D'],
}
const METADATA = { config: JSON.stringify(DIFFUSERS) }
const OLD_NAMES = { to_q: 'query', to_k: 'key', to_v: 'value', 'to_out.0': 'proj_attn' } as const

const klState = () => randomState(AutoencoderKL.fromConfig(CONFIG, 'cpu'))
const taesdConfig = { width: 8, latentChannels: 4 }

function renamed(state: Map<string, HostTensor>): Map<string, HostTensor> {
  return new Map(
    [...state].map(([name, tensor]) => [
      name.replace(
        /(attentions\.0\.)(to_q|to_k|to_v|to_out\.0)/,
        (_, before, today: keyof typeof OLD_NAMES) => `${before}${OLD_NAMES[today]}`,
      ),
      tensor,
    ]),
  )
}

const write = (path: string, state: Map<string, HostTensor>, metadata = {}) =>
  writeSafetensors(
    path,
    [...state].map(([name, tensor]) => ({ name, ...tensor })),
    { metadata },
  )

const latents = () => Tensor.from(Float32Array.from(random([1, 4, 6, 9], 7).data), [1, 4, 6, 9], 'cpu')

async function decodedBy(path: string, tile?: number): Promise<Uint8Array> {
  using autoencoder = await loadAutoencoder(path, { half: 'decoder', tile })
  using z = latents()
  return (await autoencoder.decode(z)).bytes
}

describe('an AutoencoderKL from files', () => {
  test('old and new attention names, safetensors and torch, metadata and config.json: the same images', async () => {
    const folder = temporaryFolder()
    const state = klState()
    await write(join(folder, 'new.safetensors'), state, METADATA)
    await write(join(folder, 'old.safetensors'), renamed(state), METADATA)
    const diffusers = join(folder, 'sd-vae-ft-tiny')
    mkdirSync(diffusers)
    writeFileSync(join(diffusers, 'config.json'), JSON.stringify({ ...DIFFUSERS, scaling_factor: 0.18215 }))
    await writeTorchCheckpoint(join(diffusers, 'diffusion_pytorch_model.bin'), renamed(state))
    const expected = await decodedBy(join(folder, 'new.safetensors'))
    expect(expected).toHaveLength(24 * 36 * 3)
    expect(new Set(expected).size).toBeGreaterThan(50)
    expect(await decodedBy(join(folder, 'old.safetensors'))).toEqual(expected)
    expect(await decodedBy(diffusers)).toEqual(expected)
    using named = await loadAutoencoder(diffusers)
    expect(named).toMatchObject({ name: 'sd-vae-ft-tiny', latentChannels: 4, downsampling: 4, latentScale: 0.18215 })
  })

  test('encodes a posterior for every image, whatever the batch', async () => {
    const file = join(temporaryFolder(), 'vae.safetensors')
    await write(file, klState(), METADATA)
    using autoencoder = await loadAutoencoder(file, { half: 'encoder' })
    const images = [3, 4].map((seed) => Uint8Array.from(random([16 * 16 * 3], seed).data, (value) => 128 + 127 * value))
    const [first, second] = await autoencoder.encode(images, 16)
    expect(first).toHaveLength(8 * 4 * 4)
    expect(first!.subarray(64).every((std) => std > 0)).toBe(true)
    expect((await autoencoder.encode([images[1]!], 16))[0]).toEqual(second)
    await expect(autoencoder.encode([new Uint8Array(18 * 18 * 3)], 18)).rejects.toThrow(
      'multiples of 4; these are 18 wide',
    )
    using z = latents()
    await expect(autoencoder.decode(z)).rejects.toThrow('made without its decoder')
  })

  test.each<[string, (state: Map<string, HostTensor>) => void, string]>([
    [
      'a missing block',
      (state) => state.delete('decoder.mid_block.resnets.1.conv2.weight'),
      'decoder.mid_block.resnets.1.conv2.weight [24,24,3,3] is missing',
    ],
    [
      'no post_quant_conv',
      (state) => state.delete('post_quant_conv.weight'),
      'is not a whole AutoencoderKL: it has no tensor post_quant_conv.weight',
    ],
    [
      'a block of another size',
      (state) => state.set('decoder.conv_in.weight', hostFloat32(new Float32Array(16 * 4 * 9), [16, 4, 3, 3])),
      "decoder.conv_in.weight has shape [16,4,3,3], the model's is [24,4,3,3]",
    ],
    [
      'a tensor too many',
      (state) => state.set('decoder.extra.weight', hostFloat32(new Float32Array(1), [1])),
      'decoder.extra.weight is not in the model',
    ],
    [
      'both kinds of names',
      (state) => state.set('decoder.mid_block.attentions.0.query.bias', hostFloat32(new Float32Array(24), [24])),
      'holds both decoder.mid_block.attentions.0.to_q.bias and decoder.mid_block.attentions.0.query.bias',
    ],
  ])('%s is refused in one line', async (_, damage, message) => {
    const file = join(temporaryFolder(), 'vae.safetensors')
    const state = klState()
    damage(state)
    await write(file, state, METADATA)
    const failure = await loadAutoencoder(file, { half: 'decoder' }).catch((error: Error) => error)
    expect((failure as Error).message).toContain(message)
    expect((failure as Error).message).not.toContain('\n')
  })

  test.each<[string, Record<string, unknown> | undefined, string]>([
    [
      'sizes that contradict the tensors',
      { ...DIFFUSERS, block_out_channels: [8, 16, 32] },
      'states block_out_channels 8,16,32, but its tensors have 8,16,24',
    ],
    ['another kind of block', { ...DIFFUSERS, down_block_types: ['AttnDownEncoderBlock2D'] }, 'down_block_types'],
    [
      'no word of the groups',
      undefined,
      'put the config.json that diffusers wrote, with norm_num_groups, beside the file',
    ],
  ])('a configuration with %s is refused', async (_, config, message) => {
    const file = join(temporaryFolder(), 'vae.safetensors')
    await write(file, klState(), config && { config: JSON.stringify(config) })
    await expect(loadAutoencoder(file)).rejects.toThrow(message)
  })
})

describe('TAESD from files', () => {
  async function taesdFolder(): Promise<string> {
    const folder = temporaryFolder()
    await write(join(folder, 'taesd_encoder.safetensors'), randomState(new TaesdEncoder(taesdConfig, 'cpu')))
    await write(join(folder, 'taesd_decoder.safetensors'), randomState(new TaesdDecoder(taesdConfig, 'cpu')))
    return folder
  }

  test('the folder, either file, and the other half found beside it', async () => {
    const folder = await taesdFolder()
    const image = Uint8Array.from(random([16 * 16 * 3], 3).data, (value) => 128 + 127 * value)
    const results = []
    for (const path of [folder, join(folder, 'taesd_encoder.safetensors'), join(folder, 'taesd_decoder.safetensors')]) {
      using autoencoder = await loadAutoencoder(path)
      expect(autoencoder).toMatchObject({ name: 'taesd', latentChannels: 4, downsampling: 8, latentScale: 1 })
      const [moments] = await autoencoder.encode([image], 16)
      // A point: the deviation is zero.
      expect([...moments!.subarray(16)]).toEqual(Array(16).fill(0))
      using z = Tensor.from(moments!.slice(0, 16), [1, 4, 2, 2], 'cpu')
      results.push((await autoencoder.decode(z)).bytes)
    }
    expect(results[0]).toHaveLength(16 * 16 * 3)
    expect(results[1]).toEqual(results[0])
    expect(results[2]).toEqual(results[0])
  })

  test('a half that is wanted and not there, and layers that are missing', async () => {
    const alone = join(temporaryFolder(), 'taesd_decoder.safetensors')
    const state = randomState(new TaesdDecoder(taesdConfig, 'cpu'))
    await write(alone, state)
    await expect(loadAutoencoder(alone, { half: 'encoder' })).rejects.toThrow(
      `${alone} is TAESD's decoder alone, and its encoder is wanted: put that beside it, under the same name with "encoder" for "decoder".`,
    )
    state.delete('14.conv.2.bias')
    await write(alone, state)
    await expect(loadAutoencoder(alone)).rejects.toThrow('14.conv.2.bias [8] is missing')
  })
})

test.each<[string, Record<string, readonly number[]>, string]>([
  ['another model', { 'blocks.0.attn.qkv.weight': [6, 2] }, 'holds no autoencoder that is known here'],
  [
    'a part of an autoencoder',
    { 'first_stage_model.encoder.down.0.block.0.conv1.weight': [2, 2, 3, 3] },
    'is not a whole AutoencoderKL: it has no tensor encoder.conv_in.weight',
  ],
])('%s is refused', async (_, tensors, message) => {
  const file = join(temporaryFolder(), 'other.safetensors')
  const zeros = (shape: readonly number[]) => hostFloat32(new Float32Array(shape.reduce((a, b) => a * b)), shape)
  await write(file, new Map(Object.entries(tensors).map(([name, shape]) => [name, zeros(shape)])))
  await expect(loadAutoencoder(file)).rejects.toThrow(message)
})

test('folders without an autoencoder, and files that are not there', async () => {
  const folder = temporaryFolder()
  await expect(loadAutoencoder(folder)).rejects.toThrow(`${folder} holds no file of weights`)
  await expect(loadAutoencoder(join(folder, 'vae.safetensors'))).rejects.toThrow('There is no autoencoder')
})

test.each([
  [{ half: 'left' }, 'half is "left": expected one of "encoder"|"decoder"'],
  [{ tiles: 32 }, 'there is no setting "tiles"; did you mean "tile"?'],
  [{ unscaled: 1 }, 'unscaled is 1: expected boolean'],
])('options that are none: %j', async (options, message) => {
  await expect(loadAutoencoder('nowhere', options as never)).rejects.toThrow(message)
})

describe('tiles', () => {
  test.each([
    { h: 5, w: 7, side: 8 },
    { h: 8, w: 8, side: 8 },
    { h: 9, w: 30, side: 8 },
    { h: 64, w: 17, side: 16 },
  ])('of $side cover $h x $w, and parts of one whole give it back', ({ h, w, side }) => {
    const whole = random([3, h, w], 1)
    const places = tilePlaces(h, w, side)
    const tiles = places.map((place) => {
      const { top, left, rows, columns } = place
      const values = new Float32Array(3 * rows * columns)
      for (let i = 0; i < values.length; i++) {
        const [c, y, x] = [Math.floor(i / rows / columns), Math.floor(i / columns) % rows, i % columns]
        values[i] = whole.data[(c * h + top + y) * w + left + x]!
      }
      return { place, values }
    })
    const blended = blendTiles(tiles, 3, h, w)
    // A weighted mean of equal numbers, in float32.
    blended.forEach((value, i) => {
      expect(Math.abs(value - whole.data[i]!)).toBeLessThan(8 * 2 ** -24)
    })
  })

  test('as large as the image change nothing; smaller ones stay near it and take less memory', async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'taesd_decoder.safetensors')
    await write(file, randomState(new TaesdDecoder(taesdConfig, 'cpu')))
    expect(await decodedBy(file, 9)).toEqual(await decodedBy(file))
    await expect(decodedBy(file, 4)).rejects.toThrow('expected a whole number of at least 8')
    using whole = await loadAutoencoder(file)
    using tiled = await loadAutoencoder(file, { tile: 32 })
    using z = Tensor.from(Float32Array.from(random([1, 4, 64, 64], 7).data), [1, 4, 64, 64], 'cpu')
    const [exact, blended] = [await whole.decode(z), await tiled.decode(z)]
    expect(blended).toMatchObject({ height: 512, width: 512 })
    const off = exact.bytes.reduce((sum, byte, i) => sum + Math.abs(byte - blended.bytes[i]!), 0) / exact.bytes.length
    expect(off).toBeLessThan(1)
    // TAESD has no statistics of the whole: far from every tile's edges nothing differs.
    expect(blended.bytes.subarray(0, 3)).toEqual(exact.bytes.subarray(0, 3))
  })

  test.each([
    { h: 8, w: 24 },
    { h: 24, w: 8 },
  ])('of latents of $h x $w that are longer one way alone are taken too', async ({ h, w }) => {
    const file = join(temporaryFolder(), 'taesd_decoder.safetensors')
    await write(file, randomState(new TaesdDecoder(taesdConfig, 'cpu')))
    using whole = await loadAutoencoder(file)
    using tiled = await loadAutoencoder(file, { tile: 16 })
    using z = Tensor.from(Float32Array.from(random([1, 4, h, w], 7).data), [1, 4, h, w], 'cpu')
    const [exact, blended] = [await whole.decode(z), await tiled.decode(z)]
    expect(blended).toMatchObject({ height: 8 * h, width: 8 * w })
    expect(blended.bytes).not.toEqual(exact.bytes)
  })
})

describe('where memory ends', () => {
  const { limitBytes } = memoryStats('cpu')
  afterEach(() => setMemoryLimit('cpu', limitBytes))

  test('the error says that tiles would do, and they do', async () => {
    const file = join(temporaryFolder(), 'taesd_decoder.safetensors')
    await write(file, randomState(new TaesdDecoder({ width: 32, latentChannels: 4 }, 'cpu')))
    using whole = await loadAutoencoder(file)
    using tiled = await loadAutoencoder(file, { tile: 16 })
    using z = Tensor.from(Float32Array.from(random([1, 4, 48, 48], 7).data), [1, 4, 48, 48], 'cpu')
    // 384 x 384 x 32 floats are 19 MB, of which the last block needs three; a tile's are a ninth of that.
    setMemoryLimit('cpu', memoryStats('cpu').liveBytes + 30e6)
    await expect(whole.decode(z)).rejects.toThrow('`tile: 64`')
    expect((await tiled.decode(z)).bytes).toHaveLength(384 * 384 * 3)
  })
})
