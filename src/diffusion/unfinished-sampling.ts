/**
 * What is kept of a sampling until its end, so that the same call goes on where it was killed: FOLDER/unfinished/ with repa-sampling.json, its
 * settings, and for every batch whose PNGs are all there a file FIRST-LAST.SETTINGS of its latents, f32, which is empty where no latents are
 * wanted. Its name ends in the settings' digest: a process that outlives its leader may write one when others are sampled here.
 */
import { readdir, readFile, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { differingSetting } from '../distributed/require-alike.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { FileAccessError } from '../formats/errors.ts'
import { ifThere, isThere } from '../formats/if-there.ts'
import { makeFolder } from '../formats/make-folder.ts'
import { statusOf } from '../formats/path-status.ts'
import type { SampleRange } from './image-folder.ts'
import { digestOf, sampleName } from './sampling-record.ts'

/** All that the images depend on, as JSON holds it. */
export type SamplingSettings = Readonly<Record<string, unknown>>

const settingsSchema = z.record(z.string(), z.unknown())

/** What another call has left. */
export interface EarlierSampling {
  /** Ascending, and none of them overlap. */
  readonly batches: readonly SampleRange[]
  /** In what its settings are other ones, in words; undefined: in nothing. */
  readonly difference: string | undefined
}

const FOLDER = 'unfinished'
const SETTINGS = 'repa-sampling.json'
/** What is written here, whole or not. */
const OWN = /^(repa-sampling\.json|\d{6,}-\d{6,}\.[0-9a-f]{8})(\..*\.tmp-\d+)?$/

/** Whether a folder of images is one that a sampling has not ended in. */
export function isUnfinished(images: string): Promise<boolean> {
  return isThere(join(images, FOLDER, SETTINGS))
}

/** Says where the images of a folder, which are to be judged, are not all there. */
export async function noticeUnfinished(images: string, onNotice: (sentence: string) => void): Promise<void> {
  if (!(await isUnfinished(images))) return
  onNotice(`${images} holds an unfinished sampling: its images are not all there, and may be of several calls.`)
}

export class UnfinishedSampling {
  readonly #images: string
  readonly #folder: string
  readonly #settings: SamplingSettings
  /** What its batches' names end in. */
  readonly #suffix: string
  readonly #latentBytes: number

  /** @param latentBytes what is kept of an image beside its PNG */
  constructor(folder: string, settings: SamplingSettings, latentBytes: number) {
    this.#images = folder
    this.#folder = join(folder, FOLDER)
    this.#settings = settings
    this.#suffix = `.${digestOf(settings).slice(0, 8)}`
    this.#latentBytes = latentBytes
  }

  /**
   * Removes what is of no use.
   *
   * @param names what is in the folder of the images: a batch whose images are not all there is none
   */
  async read(names: ReadonlySet<string>): Promise<EarlierSampling> {
    const text = await ifThere(readFile(this.#settingsPath, 'utf8')).catch((error: unknown) => {
      throw new FileAccessError('read', this.#settingsPath, error)
    })
    const difference = text === undefined ? undefined : describeDifference(text, this.#settings)
    if (text === undefined || difference !== undefined) {
      await this.remove()
      return { batches: [], difference }
    }
    const own = (await readdir(this.#folder)).filter((name) => name.endsWith(this.#suffix))
    const found = own.flatMap((name) => rangeOf(name.slice(0, -this.#suffix.length))).sort((a, b) => a.first - b.first)
    const batches: SampleRange[] = []
    for (const batch of found) {
      if (batch.first >= endOf(batches.at(-1)) && (await this.#isWhole(batch, names))) batches.push(batch)
      else await rm(this.#fileOf(batch))
    }
    return { batches, difference }
  }

  async #isWhole({ first, count }: SampleRange, names: ReadonlySet<string>): Promise<boolean> {
    for (let number = first; number < first + count; number++) {
      // Its name may have outlived a power cut, and its bytes not.
      const name = sampleName(number)
      if (!names.has(name) || (await statusOf(join(this.#images, name))).size === 0) return false
    }
    const { size } = await statusOf(this.#fileOf({ first, count }))
    return size === count * this.#latentBytes
  }

  /** Before the first batch is added. The leader alone says what they are of. */
  async begin(isLeader: boolean): Promise<void> {
    await makeFolder(this.#folder)
    if (isLeader) await writeWhole(this.#settingsPath, `${JSON.stringify(this.#settings, null, 2)}\n`)
  }

  /** That a batch's PNGs are all there. */
  async add(batch: SampleRange, latents: Uint8Array): Promise<void> {
    await writeWhole(this.#fileOf(batch), latents)
  }

  /** Latents of images of a batch that `read` has found. */
  async latentsOf({ first, count }: SampleRange, batch: SampleRange): Promise<Uint8Array> {
    const bytes = await readFile(this.#fileOf(batch))
    const begin = (first - batch.first) * this.#latentBytes
    return bytes.subarray(begin, begin + count * this.#latentBytes)
  }

  /** Nothing is unfinished any more. What is somebody else's stays, and the folder with it. */
  async remove(): Promise<void> {
    const names = (await ifThere(readdir(this.#folder))) ?? []
    const own = names.filter((name) => OWN.test(name))
    // The settings last: until then a call can go on with what is left.
    for (const name of own.sort()) await rm(join(this.#folder, name), { force: true })
    if (own.length === names.length) await ifThere(rmdir(this.#folder))
  }

  /** Where no batch is whole there is nothing to go on from. */
  async removeIfEmpty(): Promise<void> {
    const names = (await ifThere(readdir(this.#folder))) ?? []
    if (!names.some((name) => name.endsWith(this.#suffix))) await this.remove()
  }

  get #settingsPath(): string {
    return join(this.#folder, SETTINGS)
  }

  #fileOf({ first, count }: SampleRange): string {
    return join(this.#folder, [first, first + count - 1].map(padded).join('-') + this.#suffix)
  }
}

const padded = (number: number) => String(number).padStart(6, '0')

/** The images that a file's name says, of other files none. */
function rangeOf(file: string): SampleRange[] {
  const [, first, last] = /^(\d{6,})-(\d{6,})$/.exec(file)?.map(Number) ?? []
  return first === undefined || last === undefined || last < first ? [] : [{ first, count: last - first + 1 }]
}

const endOf = (batch: SampleRange | undefined) => (batch ? batch.first + batch.count : 0)

/** Images in a row, and the batch that an earlier call has made them in; undefined: it has not. */
export interface SamplingPart extends SampleRange {
  readonly earlier: SampleRange | undefined
}

/** What of some images is there, and what lies between, in order. */
export function partsOf({ first, count }: SampleRange, earlier: readonly SampleRange[]): SamplingPart[] {
  const parts: SamplingPart[] = []
  let next = first
  const add = (end: number, batch: SampleRange | undefined) => {
    if (end > next) parts.push({ first: next, count: end - next, earlier: batch })
    next = Math.max(next, end)
  }
  for (const batch of earlier) {
    add(Math.min(batch.first, first + count), undefined)
    add(Math.min(endOf(batch), first + count), batch)
  }
  add(first + count, undefined)
  return parts
}

function describeDifference(text: string, settings: SamplingSettings): string | undefined {
  const earlier = settingsIn(text)
  if (!earlier) return 'settings that cannot be read'
  const name = differingSetting(earlier, settings)
  if (name === undefined) return undefined
  const [its, ours] = [earlier[name], settings[name]].map(shown)
  if (its !== undefined && ours !== undefined) return `${name} ${its}, not ${ours}`
  return `${name.endsWith('s') ? 'other' : 'another'} ${name}`
}

function settingsIn(text: string): SamplingSettings | undefined {
  try {
    return settingsSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** Undefined for what tells a reader nothing: a digest, a model's configuration. */
function shown(value: unknown): string | undefined {
  if (value === undefined || value === null) return 'none'
  const text = JSON.stringify(value)
  return text.startsWith('{') || /^"[0-9a-f]{64}"$/.test(text) ? undefined : text
}
