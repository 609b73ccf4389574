/** Autoencoders of every kind, with random weights and small enough for tests. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import type { Autoencoder } from '../../src/models/autoencoder.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { StableDiffusionAutoencoder } from '../../src/models/stable-diffusion-autoencoder.ts'
import { TaesdEncoder } from '../../src/models/taesd.ts'
import { TaesdAutoencoder } from '../../src/models/taesd-autoencoder.ts'
import type { Device } from '../../src/tensor/device.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { authorsDecoder, authorsEncoder, authorsStatistics, DECODER, GRID } from './rae-files.ts'
import { randomState } from './random-state.ts'

const write = (path: string, state: ReadonlyMap<string, HostTensor>) =>
  writeSafetensors(
    path,
    [...state].map(([name, tensor]) => ({ name, ...tensor })),
  )

const source = (state: ReadonlyMap<string, HostTensor>) => ({
  name: 'random weights',
  names: [...state.keys()],
  shapeOf: (name: string) => state.get(name)!.shape,
  read: async (name: string) => state.get(name)!,
})

async function kl(device: Device): Promise<AutoencoderKL> {
  const config = autoencoderKLConfigSchema.parse({ blockChannels: [8, 16, 24], layersPerBlock: 1, normGroups: 4 })
  const model = AutoencoderKL.fromConfig(config, device)
  await model.load(source(randomState(AutoencoderKL.fromConfig(config, 'cpu'))))
  return model
}

export async function taesdEncoder(device: Device): Promise<TaesdEncoder> {
  const config = { width: 8, latentChannels: 4 }
  const model = new TaesdEncoder(config, device)
  await model.load(source(randomState(new TaesdEncoder(config, 'cpu'))))
  return model
}

const statistics = {
  mean: Float32Array.from(random([4], 5).data),
  std: Float32Array.from(random([4], 6).data, (value) => 1.5 + value),
}

export interface AutoencoderKind {
  readonly name: string
  /** Of square images that it encodes. */
  readonly size: number
  /** With its encoder alone. */
  readonly make: (device: Device, tile?: number) => Promise<Autoencoder>
}

export const AUTOENCODERS: readonly AutoencoderKind[] = [
  {
    name: 'an AutoencoderKL',
    size: 16,
    make: async (device, tile) => new StableDiffusionAutoencoder(await kl(device), { name: 'kl', device, tile }),
  },
  {
    name: 'one whose latents are standardised',
    size: 16,
    make: async (device) => new StableDiffusionAutoencoder(await kl(device), { name: 'kl', device, statistics }),
  },
  {
    name: 'TAESD',
    size: 16,
    make: async (device) => new TaesdAutoencoder(await taesdEncoder(device), undefined, { name: 'taesd', device }),
  },
  {
    name: 'a RAE',
    size: GRID * DECODER.patch,
    make: async (device) => {
      const folder = join(temporaryFolder(), 'rae')
      mkdirSync(folder)
      await write(join(folder, 'decoder.safetensors'), authorsDecoder())
      await write(join(folder, 'encoder.safetensors'), authorsEncoder())
      await write(join(folder, 'statistics.safetensors'), authorsStatistics())
      return loadAutoencoder(folder, { device, half: 'encoder' })
    },
  },
]
