/** The steps of a preparation after the first: what its processes share. */
import { join } from 'node:path'
import type { World } from '../distributed/world.ts'
import { latentName, writeText } from './dataset-files.ts'
import { formatDatasetJson, type Labels } from './dataset-json.ts'
import { encodeFeatures } from './encode-features.ts'
import { encodeLatents, type LatentParts } from './encode-latents.ts'
import { type FeatureEncoder, featureSettingsOf, type TokenGrid } from './feature-encoder.ts'
import { announceFeatures } from './feature-space.ts'
import type { LatentEncoder } from './latent-encoder.ts'
import { LAYOUT } from './layout.ts'
import type { PrepareJournal } from './prepare-journal.ts'
import type { PrepareProgress } from './prepare-progress.ts'
import type { PreparedImages } from './prepared-images.ts'

/** What there is to encode, as process 0 finds it. */
export interface EncodingWork {
  /** Whether the set is to have mirror images, asked for now or before. */
  readonly flip: boolean
  /** Latents that are missing. */
  readonly parts: LatentParts
  /** Images whose latents are there. */
  readonly done: number
  /** Encoders whose features are missing, by name. */
  readonly missing: readonly string[]
}

export interface EncodingOptions {
  readonly out: string
  readonly latents: 'none' | LatentEncoder
  readonly features: readonly FeatureEncoder[]
  readonly grid: TokenGrid
  readonly world: World
  /** Process 0's alone, as what follows but the signal. */
  readonly journal?: PrepareJournal
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined
  readonly onNotice?: ((sentence: string) => void) | undefined
  readonly signal: AbortSignal | undefined
}

/** Makes latents and features, as far as they are missing. */
export async function encodePrepared(
  prepared: PreparedImages,
  work: EncodingWork,
  options: EncodingOptions,
): Promise<void> {
  if (options.latents !== 'none') await makeLatents(prepared, options.latents, work, options)
  await makeFeatures(prepared, work, options)
}

async function makeLatents(
  prepared: PreparedImages,
  encoder: LatentEncoder,
  { parts, done }: EncodingWork,
  { out, world, journal, signal, onProgress }: EncodingOptions,
): Promise<void> {
  const total = prepared.names.length
  if ((parts.plain || parts.flipped) && done < total) {
    await encodeLatents(prepared, encoder, {
      out,
      parts,
      done,
      world,
      journal,
      signal,
      onProgress: (done) => onProgress?.({ step: 'latents', done, total, skipped: 0 }),
    })
  }
  if (world.rank > 0) return
  const labels: Labels = prepared.labels.map((label, i) => [latentName(prepared.numbers[i]!), label])
  await writeText(join(out, LAYOUT.latents, LAYOUT.labels), formatDatasetJson(labels))
}

async function makeFeatures(
  prepared: PreparedImages,
  { missing, flip }: EncodingWork,
  { out, features, grid, world, signal, onProgress, onNotice }: EncodingOptions,
): Promise<void> {
  const total = prepared.names.length
  const encoders = features.filter(({ name }) => missing.includes(name))
  if (encoders.length === 0) return
  if (world.rank === 0) {
    const settings = encoders.map((encoder) => featureSettingsOf(encoder, grid))
    const announcement = await announceFeatures(out, settings, total, flip)
    onNotice?.(announcement)
  }
  for (const encoder of encoders) {
    await encodeFeatures(prepared, encoder, {
      out,
      grid,
      flip,
      world,
      signal,
      onProgress: (done) => onProgress?.({ step: 'features', encoder: encoder.name, done, total, skipped: 0 }),
    })
  }
}
