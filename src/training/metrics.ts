import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat, truncate } from 'node:fs/promises'
import { FileAccessError } from '../formats/errors.ts'
import { ifThere, isThere } from '../formats/if-there.ts'
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
  readonly #file: string
  readonly #lines: FileHandle
  readonly #events: EventWriter

  private constructor(file: string, lines: FileHandle, events: EventWriter) {
    this.#file = file
    this.#lines = lines
    this.#events = events
  }

  /**
   * Opens the log of a run's folder; what it says of steps after `step`, which a resumed run makes again, is cut off, and TensorBoard told
   * to drop it. `onNotice` hears of lines that are not the log's, which stay.
   */
  static async open(
    folder: string,
    metricsFile: string,
    step: number,
    onNotice?: (sentence: string) => void,
  ): Promise<MetricsLog> {
    await cutAfter(metricsFile, step, onNotice)
    const lines = await open(metricsFile, 'a')
    try {
      // From step 0 on too: a run that is killed before its first checkpoint begins once more.
      return new MetricsLog(metricsFile, lines, await EventWriter.create(folder, { purgeStep: step + 1 }))
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
    const { size } = await this.#lines.stat()
    try {
      await this.#lines.appendFile(`${JSON.stringify(line)}\n`)
    } catch (error) {
      // Behind half a line all others would be lost, as a file is read that was torn by a kill.
      await this.#lines.truncate(size).catch(() => {})
      throw error
    }
    for (const [tag, value] of scalars) if (value !== undefined) this.#events.scalar(tag, value, line.step)
  }

  /** A grid of samples for TensorBoard. */
  image(tag: string, png: Uint8Array, step: number): void {
    this.#events.image(tag, png, step)
  }

  async flush(): Promise<void> {
    await this.#events.flush()
  }

  /**
   * @param checkpoint the folder that has all steps of the log, for the error to name where it is still there
   * @throws {Error} where what is written goes to a file that nobody will find: it was removed since, or another has its name
   */
  async requireInPlace(checkpoint?: string): Promise<void> {
    const [written, there] = [await this.#lines.stat(), await ifThere(stat(this.#file))]
    if (there && written.ino === there.ino && written.dev === there.dev) return
    const isSaved = checkpoint !== undefined && (await isThere(checkpoint))
    throw new Error(
      `${this.#file} was removed or replaced while the run wrote it, and what it has logged since is lost; leave a run's folder alone until ` +
        `it has ended.${isSaved ? ` The steps themselves are saved, ${checkpoint}.` : ''}`,
    )
  }

  async close(): Promise<void> {
    await this.#lines.close()
    await this.#events.close()
  }
}

/** To six digits: of times and rates more would be noise. */
export const rounded = (value: number) => Number(value.toPrecision(6))

/**
 * Cuts a file of JSON lines at its first line of a later step, and a last line that was not finished. Whole lines that are none of a log's,
 * as an editor leaves them, or a disk that was full under an older version, stay: behind them may stand all that the run has logged.
 */
async function cutAfter(file: string, step: number, onNotice?: (sentence: string) => void): Promise<void> {
  let kept = 0
  try {
    kept = await lengthUntil(file, step, onNotice)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new FileAccessError('read', file, error)
  }
  await truncate(file, kept)
}

/** Bytes of the finished lines before the first of a later step. */
async function lengthUntil(file: string, step: number, onNotice?: (sentence: string) => void): Promise<number> {
  let length = 0
  let number = 0
  let rest = Buffer.alloc(0)
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    rest = Buffer.concat([rest, chunk])
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = rest.toString('utf8', 0, end)
      const own = stepOf(line)
      if (own > step) return length
      number++
      if (Number.isNaN(own) && line.trim() !== '') {
        onNotice?.(
          `${file}:${number} is no line of a run's log and stays there; remove the line, at which repa report stops.`,
        )
      }
      length += end + 1
      rest = rest.subarray(end + 1)
    }
  }
  return length
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
