/** What a preparation finds in the folder that it is to write. */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FolderInUse, IN_USE_FILE } from '../formats/folder-in-use.ts'
import { isThere } from '../formats/if-there.ts'
import { makeFolder } from '../formats/make-folder.ts'
import type { DatasetInfo, LatentSettings, Preparation } from './dataset-info.ts'
import { lacksRecorded, readInfo } from './dataset-listing.ts'
import { LAYOUT } from './layout.ts'
import { type JournalEntry, PrepareJournal } from './prepare-journal.ts'

/** A preparation that is under way: its journal, and what is done. */
export interface BegunPreparation {
  /** The folder, this call's until that is disposed of. */
  readonly inUse: FolderInUse
  readonly journal: PrepareJournal
  readonly entries: JournalEntry[]
  /** What is asked for, as the journal records it: of latents that are begun, no more than was known when they were. */
  readonly settings: Preparation
  /** Images whose latents are there. */
  readonly latents: number
  /** Undefined as long as the images are not whole, and where another tool made them. */
  readonly info: DatasetInfo | undefined
}

/**
 * A set that has all that is asked for, or a journal to write on.
 *
 * @param onNotice what is taken for granted of what is there, in a sentence
 * @throws {Error} for a folder that holds anything else, or that was prepared in another way, or that another process prepares
 */
export async function openOutput(
  out: string,
  request: Preparation,
  onNotice?: (sentence: string) => void,
): Promise<DatasetInfo | BegunPreparation> {
  await makeFolder(out)
  // Of which nothing is written, and which may be where nothing can be.
  const whole = await wholeSet(out, request, onNotice)
  if (whole) return whole
  const inUse = await FolderInUse.take(out)
  let state: DatasetInfo | Omit<BegunPreparation, 'inUse'> | undefined
  try {
    state = await begin(out, request, onNotice)
    return 'images' in state ? state : { ...state, inUse }
  } finally {
    if (!state || 'images' in state) await inUse[Symbol.asyncDispose]()
  }
}

/** A set that has all that is asked for; undefined where something is to be made. */
async function wholeSet(
  out: string,
  request: Preparation,
  onNotice: ((sentence: string) => void) | undefined,
): Promise<DatasetInfo | undefined> {
  const info = await recorded(out)
  if (!info || (await isThere(join(out, LAYOUT.journal)))) return undefined
  const known = asFarAsKnown(request, info.latents)
  requireAddable(out, info, known, await readdir(out))
  if (!isComplete(info, request)) return undefined
  await requireThere(out, info)
  if (known !== request) onNotice?.(knownByName(out, request))
  return info
}

async function begin(
  out: string,
  request: Preparation,
  onNotice: ((sentence: string) => void) | undefined,
): Promise<DatasetInfo | Omit<BegunPreparation, 'inUse'>> {
  const there = (await readdir(out)).filter((name) => !name.startsWith(IN_USE_FILE))
  const path = join(out, LAYOUT.journal)
  const info = await recorded(out)
  if (there.includes(LAYOUT.journal)) {
    const { journal, settings: begun, entries, latents } = await PrepareJournal.resume(path)
    const known = asFarAsKnown(request, begun?.latents)
    const difference = begun && describeDifference(begun, known)
    if (begun && !difference) {
      if (known !== request) onNotice?.(knownByName(out, request))
      return { journal, settings: begun, entries, latents, info }
    }
    await journal.close()
    if (difference) {
      throw new Error(
        `'${out}' holds an unfinished preparation with ${difference}. Repeat the call that began it, or remove the folder.`,
      )
    }
    // Killed before its first line was whole: nothing was written yet.
    await rm(path)
  }
  // Another call may have made it since.
  const whole = await wholeSet(out, request, onNotice)
  if (whole) return whole
  if (info) {
    if (asFarAsKnown(request, info.latents) !== request) onNotice?.(knownByName(out, request))
  } else if (request.images) {
    const [first] = there.filter((name) => name !== LAYOUT.journal)
    if (first !== undefined) {
      throw new Error(
        `'${out}' is not empty and holds no prepared data set (it holds '${first}'). Choose a new or empty folder.`,
      )
    }
  } else {
    requireNoLatents(out, request, there)
    requireNoCaptions(out, request, there)
  }
  const journal = await PrepareJournal.create(path, request)
  return { journal, settings: request, entries: [], latents: 0, info }
}

/**
 * A request, with no more about its autoencoder than is recorded of the one that made the latents which are there: an older version recorded
 * its name alone. The request itself where that is all of it.
 */
function asFarAsKnown(request: Preparation, there: LatentSettings | undefined): Preparation {
  const { latents } = request
  if (!latents || !there || there.weights !== undefined || there.tile !== undefined) return request
  if (latents.weights === undefined && latents.tile === undefined) return request
  return { ...request, latents: { ...latents, weights: undefined, tile: undefined } }
}

function knownByName(out: string, { latents }: Preparation): string {
  return (
    `'${out}' records the autoencoder of its latents by name alone, '${latents!.encoder}': that of now is taken to be the same, ` +
    'and whether its weights are cannot be told.'
  )
}

function isComplete(info: DatasetInfo, { captions, latents, features, flip }: Preparation): boolean {
  const cached = new Set(info.features.map(({ encoder }) => encoder))
  return (
    (!captions || info.captions !== undefined) &&
    (!latents || info.latents !== undefined) &&
    features.every(({ encoder }) => cached.has(encoder)) &&
    (!flip || info.flip)
  )
}

/** What the set says of itself, without latents and features whose folders were removed since: those are made anew. */
async function recorded(out: string): Promise<DatasetInfo | undefined> {
  const info = await readInfo(out)
  if (!info) return undefined
  const { latents, latentStatistics, ...rest } = info
  const features: DatasetInfo['features'] = []
  for (const settings of info.features)
    if (await isThere(join(out, LAYOUT.features, settings.encoder))) features.push(settings)
  const hasLatents = latents !== undefined && (await isThere(join(out, LAYOUT.latents)))
  return { ...rest, ...(hasLatents && { latents, latentStatistics }), features }
}

/** Throws where a folder is gone that is not made anew: a call that says that all is there is believed. */
async function requireThere(out: string, { latents, flip }: DatasetInfo): Promise<void> {
  for (const folder of [LAYOUT.images, ...(latents && flip ? [LAYOUT.flippedLatents] : [])]) {
    if (!(await isThere(join(out, folder)))) throw new Error(lacksRecorded(out, `folder '${folder}'`))
  }
}

/** Throws where the set is another than the one asked for: what it has, it must have in the same way. */
function requireAddable(out: string, info: DatasetInfo, request: Preparation, there: readonly string[]): void {
  const refuse = (difference: string): never => {
    throw new Error(`'${out}' holds a data set with ${difference}. Choose another folder, or remove this one.`)
  }
  if (request.images) {
    const difference = describeDifference(
      { images: info.settings, features: [], flip: false },
      { images: request.images, features: [], flip: false },
    )
    if (difference) refuse(difference)
  }
  if (request.captions && info.captions) {
    // The source's, as when they were prepared, or those that are there.
    const { listing, written } = info.captions
    if (![listing, written].includes(request.captions.listing)) refuse('other captions')
  }
  if (!info.captions) requireNoCaptions(out, request, there)
  if (request.latents && info.latents) {
    const { images: _, ...rest } = request
    const difference = describeDifference({ ...rest, latents: info.latents }, rest)
    if (difference) refuse(difference)
  }
  if (!info.latents) requireNoLatents(out, request, there)
  for (const settings of request.features) {
    const cached = info.features.find(({ encoder }) => encoder === settings.encoder)
    if (cached && show(cached) !== show(settings)) {
      throw new Error(
        `'${out}' holds a data set with features ${show(cached)}, not ${show(settings)} as asked for. Choose another folder, or remove ` +
          `'${join(LAYOUT.features, settings.encoder)}' in this one to have these in their place.`,
      )
    }
  }
  if (!request.flip || info.flip) return
  const wanted = [...(info.latents ? ['its autoencoder'] : []), ...info.features.map(({ encoder }) => encoder)]
  const given = new Set([
    ...(request.latents ? ['its autoencoder'] : []),
    ...request.features.map(({ encoder }) => encoder),
  ])
  const missing = wanted.filter((name) => !given.has(name))
  if (missing.length > 0) {
    throw new Error(
      `'${out}' holds what was encoded without mirror images; to add those, name ${missing.join(', ')} again.`,
    )
  }
}

function requireNoLatents(out: string, request: Preparation, there: readonly string[]): void {
  if ((request.latents || request.flip) && there.includes(LAYOUT.latents)) {
    throw new Error(
      `'${out}' has latents in '${LAYOUT.latents}' of which it does not say what made them. Move them away to encode the images anew.`,
    )
  }
}

function requireNoCaptions(out: string, request: Preparation, there: readonly string[]): void {
  if (request.captions && there.includes(LAYOUT.captions)) {
    throw new Error(
      `'${out}' has a ${LAYOUT.captions} of which it does not say where it comes from. Move it away to make another.`,
    )
  }
}

/** Of the values that are not the same the first, in words. */
export function describeDifference(before: Preparation, now: Preparation): string | undefined {
  const [old, wanted] = [before, now].map(flattened) as [Record<string, unknown>, Record<string, unknown>]
  const key = Object.keys({ ...old, ...wanted }).find((key) => show(old[key]) !== show(wanted[key]))
  if (key === undefined) return undefined
  if (key === 'listing') return 'other source images or labels'
  if (key === 'captions') {
    return !before.captions
      ? 'no captions, where some are asked for now'
      : !now.captions
        ? 'captions, where none are asked for now'
        : 'other captions'
  }
  if (key === 'latents' && before.latents && now.latents) return latentsDifference(before.latents, now.latents)
  return `${key} ${show(old[key])}, not ${show(wanted[key])} as asked for`
}

/** Weights by the beginnings of their digests, and left out where they are the same. */
function latentsDifference({ weights: old, ...before }: LatentSettings, { weights, ...now }: LatentSettings): string {
  const shown = (digest: string | undefined): string => (digest === undefined ? 'none told' : `${digest.slice(0, 12)}…`)
  if (show(before) !== show(now)) return `latents ${show(before)}, not ${show(now)} as asked for`
  return `latents by other weights of '${now.encoder}' (SHA-256 ${shown(old)}, and as asked for ${shown(weights)})`
}

function flattened({ images, captions, latents, features, flip }: Preparation): Record<string, unknown> {
  return {
    ...images,
    captions: captions?.listing ?? 'none',
    latents: latents ?? 'none',
    features: features.length > 0 ? features : 'none',
    flip,
  }
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? 'none')
}
