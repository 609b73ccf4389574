/** What a checkpoint tells of the run that it is of, beside its model and its path. */
import * as z from 'zod'
import { type TrainingConfiguration, trainingSchema } from './configuration.ts'

export type RunEncoder = TrainingConfiguration['encoders'][number]

export interface ToldRun {
  /** The encoders that it aligned its model with. */
  readonly encoders: readonly RunEncoder[]
  /** What encoded its captions, of a model of text. */
  readonly captionEncoder: TrainingConfiguration['captionEncoder']
  /**
   * `statisticsDigest` of what its latents were standardised by as they were read; undefined where they were prepared or made of images, or
   * it is not told.
   */
  readonly latentStatistics: string | undefined
  /** The same of what an autoencoder standardised its latents by, when they were prepared or made of images; undefined where it is not told. */
  readonly autoencoderStatistics: string | undefined
}

/** By a checkpoint's `configuration`. Nothing of one that was made by other means than a run. */
export function toldRun(configuration: unknown): ToldRun {
  const { encoders, captionEncoder, encodeLatents, latentsDigest } = trainingSchema.shape
  const settings = z.object({ encoders, captionEncoder, encodeLatents, latentsDigest })
  const found = z.object({ training: settings }).safeParse(configuration)
  if (!found.success)
    return { encoders: [], captionEncoder: undefined, latentStatistics: undefined, autoencoderStatistics: undefined }
  const { training } = found.data
  const digest = training.latentsDigest
  return {
    encoders: training.encoders,
    captionEncoder: training.captionEncoder,
    // Of a run that makes its latents a bare digest is that of files.
    latentStatistics: training.encodeLatents || typeof digest === 'object' ? undefined : digest,
    autoencoderStatistics: typeof digest === 'object' ? digest.statistics : undefined,
  }
}

/** What another run, that begins from its weights, shows them or draws them towards that is not what they learnt with: a sentence each. */
export function otherEncoders(
  { encoders, captionEncoder }: Pick<ToldRun, 'encoders' | 'captionEncoder'>,
  now: Pick<TrainingConfiguration, 'encoders' | 'captionEncoder'>,
): string[] {
  const sentences = now.encoders.flatMap(({ name, sha256 }, i) => {
    const before = encoders[i]
    if (before === undefined || before.name === name) {
      const isOther = before?.sha256 !== undefined && sha256 !== undefined && before.sha256 !== sha256
      return isOther ? [`were aligned with other weights of ${name} than this run's`] : []
    }
    return [`were aligned with ${before.name}, where this run has ${name}`]
  })
  const [its, ours] = [captionEncoder?.digest, now.captionEncoder?.digest]
  if (its !== undefined && ours !== undefined && its !== ours) {
    sentences.push("were shown captions by another encoder than this run's")
  }
  return sentences
}
