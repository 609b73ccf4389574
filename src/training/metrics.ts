import { createReadStream } from 'node:fs'
import { type FileHandle, open, truncate } from 'node:fs/promises'
import { EventWriter } from '../formats/tensorboard.ts'
import type { TrainingStep } from './trainer-options.ts'

/** TensorBoard's tags, and what of a step is drawn under each. */
const SCALARS = [
  ['loss/total', 'loss'],
  ['loss/denoising', 'denoising'],
  ['loss/vb', 'vb'],
  ['loss/velocity_cosine', 'velocityCosine'],
  ['loss/alignment', 'alignment'],
  ['weight/alignment', 'alignWeight'],
  ['loss/attention_alignment', 'attentionAlignment'],
  ['loss/self_alignment', 'selfAlignment'],
  ['weight/self_alignment', 'selfAlignWeight'],
  ['loss/dispersive', 'dispersive'],
  ['loss/contrastive', 'contrastive'],
  ['loss/class_token', 'classToken'],
  ['gradient/norm', 'gradNorm'],
  ['gradient/loss_scale', 'lossScale'],
  ['optimizer/learning_rate', 'learningRate'],
  ['throughput/images_per_second', 'imagesPerSecond'],
] as const

/**
 * What a run logs: `metrics.jsonl`, one line a step, and TensorBoard events beside it. `seconds` is the time since this process
 * began to train, `skipped` a running count; what is not finite is null.
 */
export class MetricsLog {
  readonly #lines: FileHandle
  readonly #events: EventWriter

  private constructor(lines: FileHandle, events: EventWriter) {
    this.#lines = lines
    this.#events = events
  }

  /**
   * Opens the log of a run's folder; what it says of steps after `step`, which a resumed run makes again, is cut off, and TensorBoard told
   * to drop it.
   */
  static async open(folder: string, metricsFile: string, step: number): Promise<MetricsLog> {
    await cutAfter(metricsFile, step)
    const lines = await open(metricsFile, 'a')
    try {
      // From step 0 on too: a run that is killed before its first checkpoint begins once more.
      return new MetricsLog(lines, await EventWriter.create(folder, { purgeStep: step + 1 }))
    } catch (error) {
      await lines.close()
      throw error
    }
  }

  async write(step: TrainingStep): Promise<void> {
    // JSON leaves out what is undefined.
    const line = {
      step: step.index,
      loss: step.loss,
      denoising: step.denoising,
      vb: step.vb,
      velocityCosine: step.velocityCosine,
      alignment: step.alignment,
      alignWeight: step.alignWeight,
      attentionAlignment: step.attentionAlignment,
      selfAlignment: step.selfAlignment,
      selfAlignWeight: step.selfAlignWeight,
      dispersive: step.dispersive,
      contrastive: step.contrastive,
      classToken: step.classToken,
      gradNorm: step.gradNorm,
      lr: step.learningRate,
      imagesPerSecond: rounded(step.imagesPerSecond),
      seconds: rounded(step.seconds),
      skipped: step.skipped,
      lossScale: step.lossScale,
    }
    await this.append(
      line,
      SCALARS.map(([tag, name]) => [tag, step[name]]),
    )
  }

  /** A line of any training, and what of it TensorBoard draws under which tag. */
  async append(
    line: Readonly<Record<string, number | undefined>> & { readonly step: number },
    scalars: readonly (readonly [tag: string, value: number | undefined])[],
  ): Promise<void> {
    await this.#lines.write(`${JSON.stringify(line)}\n`)
    for (const [tag, value] of scalars) if (value !== undefined) this.#events.scalar(tag, value, line.step)
  }

  /** A grid of samples for TensorBoard. */
  image(tag: string, png: Uint8Array, step: number): void {
    this.#events.image(tag, png, step)
  }

  async flush(): Promise<void> {
    await this.#events.flush()
  }

  async close(): Promise<void> {
    await this.#lines.close()
    await this.#events.close()
  }
}

/** To six digits: of times and rates more would be noise. */
export const rounded = (value: number) => Number(value.toPrecision(6))

/** Cuts a file of JSON lines at its first line that is torn or of a later step. */
async function cutAfter(file: string, step: number): Promise<void> {
  let keep = 0
  let rest = Buffer.alloc(0)
  try {
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk])
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        if (!(stepOf(rest.toString('utf8', 0, end)) <= step)) return await truncate(file, keep)
        keep += end + 1
        rest = rest.subarray(end + 1)
      }
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (rest.length > 0) await truncate(file, keep)
}

/** NaN for what is not a line of ours. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown }
    return typeof step === 'number' ? step : Number.NaN
  } catch {
    return Number.NaN
  }
}
