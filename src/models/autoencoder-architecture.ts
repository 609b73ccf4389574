/** Autoencoders without weights: what their memory and work follow from, and those that are published. */
import type { Device } from '../tensor/device.ts'
import type { Autoencoder } from './autoencoder.ts'
import { AutoencoderKL, type AutoencoderKLConfig, autoencoderKLConfigSchema, downsamplingOf } from './autoencoder-kl.ts'
import { HALF } from './image-normalisation.ts'
import { RaeAutoencoder } from './rae-autoencoder.ts'
import { RaeDecoder, type RaeDecoderConfig } from './rae-decoder.ts'
import { StableDiffusionAutoencoder } from './stable-diffusion-autoencoder.ts'
import { TAESD_DOWNSAMPLING, type TaesdConfig, TaesdDecoder, TaesdEncoder } from './taesd.ts'
import { TaesdAutoencoder } from './taesd-autoencoder.ts'
import { VisionTransformer } from './vit.ts'
import { type VisionTransformerConfig, visionTransformerConfigSchema } from './vit-config.ts'
import { DINOV2_PRESETS } from './vit-presets.ts'

export type AutoencoderArchitecture =
  | {
      readonly kind: 'AutoencoderKL'
      readonly config: AutoencoderKLConfig
      /** Whether its latents are standardised by channel. */
      readonly isStandardised: boolean
    }
  | { readonly kind: 'TAESD'; readonly config: TaesdConfig }
  | {
      readonly kind: 'RAE'
      /** Undefined: not loaded. */
      readonly encoder: VisionTransformerConfig | undefined
      readonly decoder: RaeDecoderConfig
    }

/** Published autoencoders, by the names that recipes call them. */
export const AUTOENCODER_NAMES = ['sd-vae', 'va-vae', 'taesd', 'rae-dinov2-b'] as const

export type AutoencoderName = (typeof AUTOENCODER_NAMES)[number]

/** The Stable Diffusion VAE, VA-VAE's f16d32, TAESD, and RAE's of DINOv2-B with registers and a decoder as large as ViT-XL. */
export function autoencoderOfName(name: AutoencoderName): AutoencoderArchitecture {
  switch (name) {
    case 'sd-vae':
      return { kind: 'AutoencoderKL', config: autoencoderKLConfigSchema.parse({}), isStandardised: false }
    case 'va-vae':
      return {
        kind: 'AutoencoderKL',
        config: autoencoderKLConfigSchema.parse({
          blockChannels: [128, 128, 256, 256, 512],
          encoderAttention: [4],
          decoderAttention: [4],
          latentChannels: 32,
          scalingFactor: 1,
        }),
        isStandardised: true,
      }
    case 'taesd':
      return { kind: 'TAESD', config: { width: 64, latentChannels: 4 } }
    case 'rae-dinov2-b':
      return {
        kind: 'RAE',
        encoder: visionTransformerConfigSchema.parse(DINOV2_PRESETS['dinov2reg-vit-b']),
        decoder: { latentChannels: 768, hidden: 1152, depth: 28, heads: 16, ffnWidth: 4096, grid: 16, patch: 16 },
      }
  }
}

/** An autoencoder with undefined weights. */
export function emptyAutoencoder(architecture: AutoencoderArchitecture, name: string, device: Device): Autoencoder {
  const options = { name, device }
  switch (architecture.kind) {
    case 'AutoencoderKL': {
      const { config, isStandardised } = architecture
      const ones = new Float32Array(config.latentChannels).fill(1)
      const statistics = isStandardised ? { mean: ones, std: ones } : undefined
      return new StableDiffusionAutoencoder(AutoencoderKL.fromConfig(config, device), { ...options, statistics })
    }
    case 'TAESD': {
      const { config } = architecture
      return new TaesdAutoencoder(new TaesdEncoder(config, device), new TaesdDecoder(config, device), options)
    }
    case 'RAE': {
      const { encoder, decoder: sizes } = architecture
      const ones = new Float32Array(sizes.latentChannels * sizes.grid ** 2).fill(1)
      return new RaeAutoencoder(
        {
          encoder: encoder && VisionTransformer.fromConfig(encoder, device),
          decoder: new RaeDecoder(sizes, device),
          sizes,
          statistics: { mean: ones, std: ones },
          pixels: HALF,
        },
        options,
      )
    }
  }
}

/** What an autoencoder of it says of its latents. */
export function latentsOf(
  architecture: AutoencoderArchitecture,
): Pick<Autoencoder, 'latentChannels' | 'downsampling' | 'latentScale' | 'hasDeviations'> {
  switch (architecture.kind) {
    case 'AutoencoderKL': {
      const { config, isStandardised } = architecture
      const latentScale = isStandardised ? 1 : config.scalingFactor
      const { latentChannels } = config
      return { latentChannels, downsampling: downsamplingOf(config), latentScale, hasDeviations: true }
    }
    case 'TAESD': {
      const { latentChannels } = architecture.config
      return { latentChannels, downsampling: TAESD_DOWNSAMPLING, latentScale: 1, hasDeviations: true }
    }
    case 'RAE': {
      const { latentChannels, patch } = architecture.decoder
      return { latentChannels, downsampling: patch, latentScale: 1, hasDeviations: false }
    }
  }
}
