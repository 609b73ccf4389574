/** Autoencoders as latent-diffusion writes them, with attention in levels, and those with statistics of their latents. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { diffusersNames } from '../../src/models/ldm-autoencoder-names.ts'
import { loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { randomState } from './random-state.ts'

const CHANNELS = 6
const CONFIG = autoencoderKLConfigSchema.parse({
  blockChannels: [32, 32, 64],
  layersPerBlock: 2,
  latentChannels: CHANNELS,
  encoderAttention: [2],
  decoderAttention: [1, 2],
})

/** Latent-diffusion's names, by those that the model has. Written out beside the code, which goes the other way. */
const LDM: readonly (readonly [RegExp, (...parts: string[]) => string])[] = [
  [
    /^encoder\.down_blocks\.(\d)\.resnets\.(\d)\.(.*)$/,
    (_, level, i, layer) => `encoder.down.${level}.block.${i}.${layer}`,
  ],
  [
    /^encoder\.down_blocks\.(\d)\.attentions\.(\d)\.(.*)$/,
    (_, level, i, layer) => `encoder.down.${level}.attn.${i}.${layer}`,
  ],
  [
    /^encoder\.down_blocks\.(\d)\.downsamplers\.0\.(.*)$/,
    (_, level, layer) => `encoder.down.${level}.downsample.${layer}`,
  ],
  [
    /^decoder\.up_blocks\.(\d)\.resnets\.(\d)\.(.*)$/,
    (_, up, i, layer) => `decoder.up.${2 - Number(up)}.block.${i}.${layer}`,
  ],
  [
    /^decoder\.up_blocks\.(\d)\.attentions\.(\d)\.(.*)$/,
    (_, up, i, layer) => `decoder.up.${2 - Number(up)}.attn.${i}.${layer}`,
  ],
  [
    /^decoder\.up_blocks\.(\d)\.upsamplers\.0\.(.*)$/,
    (_, up, layer) => `decoder.up.${2 - Number(up)}.upsample.${layer}`,
  ],
  [/^(\w+)\.mid_block\.resnets\.(\d)\.(.*)$/, (_, half, i, layer) => `${half}.mid.block_${Number(i) + 1}.${layer}`],
  [/^(\w+)\.mid_block\.attentions\.0\.(.*)$/, (_, half, layer) => `${half}.mid.attn_1.${layer}`],
  [/^(\w+)\.conv_norm_out\.(.*)$/, (_, half, layer) => `${half}.norm_out.${layer}`],
  [/^(\w+)\.conv_(in|out)\.(.*)$/, (_, half, end, layer) => `${half}.conv_${end}.${layer}`],
  [/^(quant_conv|post_quant_conv)\.(.*)$/, (_, name, layer) => `${name}.${layer}`],
]
const LAYERS: Readonly<Record<string, string>> = {
  conv_shortcut: 'nin_shortcut',
  group_norm: 'norm',
  to_q: 'q',
  to_k: 'k',
  to_v: 'v',
  'to_out.0': 'proj_out',
}

function ldmName(name: string): string {
  const [pattern, made] = LDM.find(([own]) => own.test(name))!
  const [, layer] = /\.(conv_shortcut|group_norm|to_q|to_k|to_v|to_out\.0)\./.exec(name) ?? []
  const moved = name.replace(pattern, made)
  return layer === undefined ? moved : moved.replace(`.${layer}.`, `.${LAYERS[layer]}.`)
}

const state = () => randomState(AutoencoderKL.fromConfig(CONFIG, 'cpu'))

/** The same as latent-diffusion has it: attention's matrices are convolutions of one cell. */
function ldmState(prefix = ''): Map<string, HostTensor> {
  return new Map(
    [...state()].map(([name, tensor]) => {
      const shape =
        /attentions.*weight$/.test(name) && tensor.shape.length === 2 ? [...tensor.shape, 1, 1] : tensor.shape
      return [prefix + ldmName(name), { ...tensor, shape }] as const
    }),
  )
}

const safetensors = (path: string, tensors: ReadonlyMap<string, HostTensor>, metadata = {}) =>
  writeSafetensors(
    path,
    [...tensors].map(([name, tensor]) => ({ name, ...tensor })),
    { metadata },
  )
const SCALED = { config: JSON.stringify({ scaling_factor: 0.5 }) }
const STATISTICS = {
  mean: Float32Array.from({ length: CHANNELS }, (_, i) => 0.5 * i - 1),
  std: Float32Array.from({ length: CHANNELS }, (_, i) => 0.25 * (i + 1)),
}
const asStored = ({ mean, std } = STATISTICS) =>
  new Map([
    ['mean', hostFloat32(mean, [1, mean.length, 1, 1])],
    ['std', hostFloat32(std, [1, std.length, 1, 1])],
  ])

const image = Uint8Array.from(random([16 * 16 * 3], 3).data, (value) => 128 + 127 * value)
const drawn = random([2, CHANNELS, 4, 3], 7).data

/** An image's moments, and what latents decode to. */
async function run(path: string, latents: Float64Array = drawn) {
  using autoencoder = await loadAutoencoder(path)
  const { name, latentChannels, downsampling, latentScale } = autoencoder
  const [moments] = await autoencoder.encode([image], 16)
  using z = Tensor.from(Float32Array.from(latents), [2, CHANNELS, 4, 3], 'cpu')
  return {
    name,
    latentChannels,
    downsampling,
    latentScale,
    moments: moments!,
    bytes: (await autoencoder.decode(z)).bytes,
  }
}

describe("latent-diffusion's names", () => {
  test('are all of them, each of one tensor', () => {
    const names = [...state().keys()]
    const back = diffusersNames(names.map(ldmName))
    expect([...back.keys()]).toEqual(names)
    expect(names.filter((name) => name.includes('attentions')).length).toBe(10 * (2 + 1 + 1 + 3 + 3))
    expect(ldmName('decoder.up_blocks.1.attentions.2.to_out.0.bias')).toBe('decoder.up.1.attn.2.proj_out.bias')
  })

  test.each([
    ['a file of a training, with what else is in it', '', '.pt'],
    ["a latent diffusion's, behind a prefix", 'first_stage_model.', '.ckpt'],
  ])('%s: the moments and images of the file under diffusers’ names', async (_, prefix, extension) => {
    const folder = temporaryFolder()
    await safetensors(join(folder, 'vae.safetensors'), state(), SCALED)
    const expected = await run(join(folder, 'vae.safetensors'))
    expect(expected).toMatchObject({ name: 'vae', latentChannels: CHANNELS, downsampling: 4, latentScale: 0.5 })
    expect(new Set(expected.bytes).size).toBeGreaterThan(50)
    const other = hostFloat32(Float32Array.of(1), [1])
    const whole = new Map([...ldmState(prefix), ['loss.logvar', other], ['foundation_model.model.norm.bias', other]])
    const inner = join(folder, 'inner')
    mkdirSync(inner)
    await writeTorchCheckpoint(join(inner, `vae${extension}`), { state_dict: whole, global_step: 7 })
    await expect(run(inner)).rejects.toThrow('does not say at which scale its latents of 6 channels are trained on;')
    await safetensors(join(inner, 'latents_stats.safetensors'), asStored())
    const { moments, bytes, ...rest } = await run(inner)
    expect(rest).toEqual({ name: 'vae, standardised', latentChannels: CHANNELS, downsampling: 4, latentScale: 1 })
    // The moments are standardised.
    const pixels = 4 * 4
    for (const [i, value] of moments.entries()) {
      const channel = Math.floor(i / pixels) % CHANNELS
      const [mean, std] = [STATISTICS.mean[channel]!, STATISTICS.std[channel]!]
      const own = expected.moments[i]!
      expect(value).toBe(Math.fround((i < CHANNELS * pixels ? Math.fround(own - mean) : own) / std))
    }
    // And what they decode to is what their own values do: a number and a half at most through the factor of the other.
    const unstandardized = drawn.map((value, i) => {
      const channel = Math.floor(i / 12) % CHANNELS
      return 0.5 * (value * STATISTICS.std[channel]! + STATISTICS.mean[channel]!)
    })
    const own = await run(join(folder, 'vae.safetensors'), unstandardized)
    expect(Math.max(...bytes.map((byte, i) => Math.abs(byte - own.bytes[i]!)))).toBeLessThanOrEqual(1)
  })
})

describe('statistics of latents', () => {
  const long = Float32Array.from({ length: CHANNELS + 1 }, () => 1)
  test.each<readonly [string, ReadonlyMap<string, HostTensor>, object, string]>([
    [
      'of other latents',
      asStored({ mean: long, std: long }),
      {},
      'is of latents of 7 channels, and what lies beside it of 6; give each autoencoder that has statistics a folder of its own.',
    ],
    ['without a deviation', new Map([...asStored()].slice(0, 1)), {}, 'it has no tensor std; expected mean and std.'],
    [
      'with a deviation of 0',
      asStored({ ...STATISTICS, std: STATISTICS.std.map((value, i) => (i === 2 ? 0 : value)) }),
      {},
      'the standard deviation of channel 2 is 0; expected more than 0.',
    ],
    [
      'that are not finite',
      asStored({ ...STATISTICS, mean: STATISTICS.mean.map(() => Number.NaN) }),
      {},
      'latents_stats.pt: mean is not finite.',
    ],
    [
      'and a scaling factor',
      asStored(),
      SCALED,
      'has statistics of its latents beside it and a scaling_factor of 0.5;',
    ],
  ])('%s are refused', async (_, statistics, metadata, message) => {
    const folder = temporaryFolder()
    await safetensors(join(folder, 'vae.safetensors'), ldmState(), metadata)
    await writeTorchCheckpoint(join(folder, 'latents_stats.pt'), new Map(statistics))
    await expect(loadAutoencoder(folder)).rejects.toThrow(message)
  })
})

test('attention that is stated and not there is refused', async () => {
  const file = join(temporaryFolder(), 'vae.safetensors')
  const down_block_types = ['DownEncoderBlock2D', 'AttnDownEncoderBlock2D', 'AttnDownEncoderBlock2D']
  await safetensors(file, ldmState(), { config: JSON.stringify({ scaling_factor: 0.5, down_block_types }) })
  await expect(loadAutoencoder(file)).rejects.toThrow(
    `its configuration states down_block_types ${down_block_types}, but its tensors have DownEncoderBlock2D,DownEncoderBlock2D,AttnDownEncoderBlock2D.`,
  )
})
