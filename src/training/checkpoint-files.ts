/**
 * Folders of checkpoints, whatever they are of: `checkpoints/STEP/` (seven digits) of safetensors files and a JSON. Each is written
 * beside, synced and renamed, so a kill at any instant leaves the last whole one.
 * (A second checkpoint of one step first moves the old one aside, and a kill in between is made good by the next reader.)
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { parseJson } from '../configuration/json.ts'
import { nodeFileSystem, type WritableFileSystem } from '../formats/atomic-file.ts'
import { describeSystemError, FileAccessError, messageOf } from '../formats/errors.ts'
import { ifThere, isThere } from '../formats/if-there.ts'
import { makeFolder } from '../formats/make-folder.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import { type SafetensorsSource, writeSafetensors } from '../formats/safetensors-writer.ts'
import type { Model } from '../models/model.ts'
import type { ArenaRole } from '../nn/parameter-arena.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import { loadState, type StateSource } from '../nn/state-dict.ts'
import { checkpointName, RUN_LAYOUT } from './run-layout.ts'
import { Turns } from './turns.ts'

export const STATE_FILE = 'state.json'

/** The arrays of an arena that a checkpoint holds. */
export type CheckpointRole = Exclude<ArenaRole, 'gradients'>

/** What one of a checkpoint's files holds: its name, arrays of the arena, and the prefix of the tensors' names. */
export interface CheckpointFile {
  readonly file: string
  readonly parts: readonly { readonly role: CheckpointRole; readonly prefix: string }[]
}

export const MODEL_FILE: CheckpointFile = { file: 'model.safetensors', parts: [{ role: 'weights', prefix: '' }] }
export const EMA_FILE: CheckpointFile = { file: 'ema.safetensors', parts: [{ role: 'ema', prefix: '' }] }
/** Under torch's names of the two moments. */
export const OPTIMIZER_FILE: CheckpointFile = {
  file: 'optimizer.safetensors',
  parts: [
    { role: 'firstMoments', prefix: 'exp_avg.' },
    { role: 'secondMoments', prefix: 'exp_avg_sq.' },
  ],
}

/** The entries that a role covers: moments exist for trainable parameters only. */
export function entriesOfRole(entries: readonly StateEntry[], role: ArenaRole): StateEntry[] {
  const isMoment = role === 'firstMoments' || role === 'secondMoments'
  return entries.filter(({ parameter }) => !isMoment || parameter.trainable)
}

/** A role's tensors, read when they are written: from the arena's array that `arrayOf`, called once, then names. Default: the role's own. */
export function arenaTensors(
  model: Model,
  role: CheckpointRole,
  arrayOf: () => ArenaRole = () => role,
): SafetensorsSource[] {
  let array: ArenaRole | undefined
  return entriesOfRole(model.entries, role).map((entry) => ({
    name: entry.name,
    dtype: 'f32' as const,
    shape: entry.shape,
    data: async () => {
      array ??= arrayOf()
      using view = model.arena.view(array, entry)
      return (await view.toHost()).data
    },
  }))
}

const turns = new Map<string, Turns>()

/** Of those of this process that write a folder of one name, which would remove what the other is writing. */
async function turnAt(target: string): Promise<Disposable> {
  const own = turns.get(target) ?? new Turns()
  turns.set(target, own)
  const turn = await own.take()
  return {
    [Symbol.dispose]: () => {
      turn[Symbol.dispose]()
      if (!own.isTaken) turns.delete(target)
    },
  }
}

/**
 * Writes a checkpoint's folder, one tensor at a time. Throws, leaving what was there, when the disk refuses. `fileSystem` stands in for
 * Node's where the tensors are written.
 */
export async function writeCheckpointFiles(
  path: string,
  files: readonly { readonly file: string; readonly tensors: readonly SafetensorsSource[] }[],
  state: { readonly step: number; readonly [name: string]: unknown },
  { fileSystem }: { fileSystem?: WritableFileSystem } = {},
): Promise<void> {
  // A slash behind it, or a dot, would be a part of the names beside it.
  const target = resolve(path)
  const folder = dirname(target)
  using _turn = await turnAt(target)
  const partial = `${target}.partial-${process.pid}`
  try {
    await makeFolder(folder)
    await rm(partial, { recursive: true, force: true })
    await mkdir(partial)
    for (const { file, tensors } of files) {
      await writeSafetensors(join(partial, file), tensors, {
        checksum: true,
        fsync: true,
        ...(fileSystem && { fileSystem }),
      })
    }
    const json = await open(join(partial, STATE_FILE), 'wx')
    try {
      await json.writeFile(`${JSON.stringify(state, null, 2)}\n`)
      await json.sync()
    } finally {
      await json.close()
    }
    await nodeFileSystem.syncDirectory(partial)
    await replaceFolder(target, partial)
    await nodeFileSystem.syncDirectory(folder)
  } catch (cause) {
    await rm(partial, { recursive: true, force: true })
    const refusal = describeSystemError(cause)
    const reason = refusal === undefined ? messageOf(cause) : `${refusal}.`
    throw new Error(`The checkpoint of step ${state.step} could not be written: ${reason}`, { cause })
  }
}

/** Gives a folder its name; what had the name is moved aside first, for no rename replaces a folder that is not empty. */
async function replaceFolder(target: string, partial: string): Promise<void> {
  const replaced = `${target}.replaced-${process.pid}`
  const isThere = (await ifThere(rename(target, replaced).then(() => true))) ?? false
  try {
    await rename(partial, target)
  } catch (error) {
    if (isThere) await rename(replaced, target)
    throw error
  }
  await rm(replaced, { recursive: true, force: true })
}

interface Listed {
  readonly name: string
  readonly step: number
  /** Of what is not under its own name. */
  readonly leftover?: string
}

/** Checkpoints under a run's `checkpoints` folder, and what kills have left of some. */
async function listCheckpoints(folder: string): Promise<Listed[]> {
  const names = (await ifThere(readdir(folder))) ?? []
  return names.flatMap((name) => {
    const [, step, leftover] = /^(\d{7,})(?:\.(partial|replaced)-\d+)?$/.exec(name) ?? []
    return step === undefined ? [] : [{ name, step: Number(step), ...(leftover && { leftover }) }]
  })
}

const hasState = (folder: string, { name }: Listed): Promise<boolean> => isThere(join(folder, name, STATE_FILE))

/**
 * The newest whole checkpoint of a run's `checkpoints` folder, or undefined. What has a checkpoint's name is taken for one, so that nobody
 * goes on from an older one unasked. Changes nothing: a run may be writing there.
 */
export async function newestCheckpoint(folder: string): Promise<string | undefined> {
  const found = (await listCheckpoints(folder)).sort((a, b) => b.step - a.step || a.name.length - b.name.length)
  for (const one of found) {
    if (one.leftover === 'partial') continue
    // One that was moved aside may have been half removed already.
    if (one.leftover === undefined || (await hasState(folder, one))) return join(folder, one.name)
  }
  return undefined
}

/** The newest checkpoint of the same run before this one, as far as can be seen without reading it. */
export async function checkpointBefore(checkpoint: string): Promise<{ step: number; path: string } | undefined> {
  const [path] = await checkpointsBefore(dirname(checkpoint), stepOf(checkpoint))
  return path === undefined ? undefined : { step: stepOf(path), path }
}

const stepOf = (checkpoint: string) => Number.parseInt(basename(checkpoint), 10)

/** The checkpoints of a run's `checkpoints` folder before a step, as far as can be seen without reading them; the newest first. */
export async function checkpointsBefore(folder: string, step: number): Promise<string[]> {
  const older = (await listCheckpoints(folder)).filter((one) => one.leftover === undefined && one.step < step)
  const whole: string[] = []
  for (const one of older.sort((a, b) => b.step - a.step)) {
    if (await hasState(folder, one)) whole.push(join(folder, one.name))
  }
  return whole
}

/** Removes a checkpoint. A kill leaves none of it under its name: the rest goes when the run is gone on with. */
export async function removeCheckpoint(checkpoint: string): Promise<void> {
  const removed = `${checkpoint}.partial-${process.pid}`
  await rename(checkpoint, removed)
  await rm(removed, { recursive: true, force: true })
}

/** A checkpoint's folder: the path itself, or the newest whole one of a run there. Throws where it is neither. */
export async function checkpointOf(path: string): Promise<string> {
  const names = await readdir(path)
  const checkpoint = names.includes(STATE_FILE) ? path : await newestCheckpoint(join(path, RUN_LAYOUT.checkpoints))
  if (checkpoint !== undefined) return checkpoint
  throw new Error(
    `${path} is neither a checkpoint nor a run with one; give a folder with ${STATE_FILE}, or a run's folder.`,
  )
}

/** Makes good what a kill left: half a checkpoint is removed, a whole one that was moved aside for its successor gets its name back. */
export async function tidyCheckpoints(folder: string): Promise<void> {
  const found = await listCheckpoints(folder)
  const named = new Set(found.filter(({ leftover }) => !leftover).map(({ step }) => step))
  for (const one of found) {
    const { name, step, leftover } = one
    if (!leftover) continue
    if (leftover === 'partial' || named.has(step) || !(await hasState(folder, one))) {
      await rm(join(folder, name), { recursive: true, force: true })
    } else {
      await rename(join(folder, name), join(folder, checkpointName(step)))
      named.add(step)
    }
  }
}

/**
 * Reads a checkpoint's JSON, which has not been checked yet.
 *
 * @throws {FileAccessError} where it cannot be read; {ConfigurationError} where it is none
 */
export async function readCheckpointJson(checkpoint: string): Promise<{ path: string; json: unknown }> {
  const path = join(checkpoint, STATE_FILE)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new FileAccessError('read', path, error, isMissing ? await describeMissing(checkpoint) : undefined)
  }
  return { path, json: parseJson(text, path) }
}

async function describeMissing(checkpoint: string): Promise<string> {
  const newest = await newestCheckpoint(join(checkpoint, RUN_LAYOUT.checkpoints))
  const advice = newest === undefined ? '' : `; give one of the run there, such as ${newest}`
  return `${checkpoint} is not a checkpoint: it has no ${STATE_FILE}${advice}.`
}

/** Loads arrays of a checkpoint into a model's, each into that of its own role unless `array` names another. */
export async function loadArena(
  checkpoint: string,
  model: Model,
  files: readonly CheckpointFile[],
  roles: readonly CheckpointRole[],
  array?: ArenaRole,
): Promise<void> {
  for (const { file, parts } of files) {
    const wanted = parts.filter(({ role }) => roles.includes(role))
    if (wanted.length === 0) continue
    await using opened = await SafetensorsFile.open(join(checkpoint, file))
    for (const { role, prefix } of wanted) {
      const names = [...opened.tensors.keys()].filter((name) => name.startsWith(prefix))
      const source: StateSource = {
        name: opened.path,
        names: names.map((name) => name.slice(prefix.length)),
        shapeOf: (name) => opened.tensors.get(prefix + name)!.shape,
        read: (name) => opened.read(prefix + name),
      }
      await loadState(entriesOfRole(model.entries, role), model.arena, array ?? role, source)
    }
  }
}
