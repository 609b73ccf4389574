/**
 * Checkpoints: folders `checkpoints/STEP/` (seven digits) of safetensors files under the reference's parameter names, and a
 * JSON. Each is written beside, synced and renamed, so a kill at any instant leaves the last whole one.
 *
 *   model.safetensors, ema.safetensors      the state dict's names
 *   optimizer.safetensors                   exp_avg.NAME and exp_avg_sq.NAME (torch's names of the two moments)
 *   state.json                              step, the optimizer's counters, the model's and the run's configuration
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import { writeSafetensors } from '../formats/safetensors-writer.ts'
import type { Model } from '../models/model.ts'
import { type SiTConfig, sitConfigSchema } from '../models/sit.ts'
import type { ArenaRole } from '../nn/parameter-arena.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import { loadState, type StateSource } from '../nn/state-dict.ts'
import type { StepState } from './optimizer.ts'

/** Where a run's folder has them. */
export const CHECKPOINTS = 'checkpoints'

const FORMAT = 1

const stateSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Training steps made, skipped ones included: the number of the next one, counted from 0. */
  step: z.int().nonnegative(),
  updates: z.int().nonnegative(),
  skipped: z.int().nonnegative(),
  seed: z.int().nonnegative(),
  model: sitConfigSchema,
  /** The run's resolved configuration, as config.json has it. */
  configuration: z.json(),
})

export type CheckpointState = z.output<typeof stateSchema>

/** What a checkpoint's files hold: name, arena array, and the prefix of the tensors' names. */
const FILES: readonly { file: string; parts: readonly { role: ArenaRole; prefix: string }[] }[] = [
  { file: 'model.safetensors', parts: [{ role: 'weights', prefix: '' }] },
  { file: 'ema.safetensors', parts: [{ role: 'ema', prefix: '' }] },
  {
    file: 'optimizer.safetensors',
    parts: [
      { role: 'firstMoments', prefix: 'exp_avg.' },
      { role: 'secondMoments', prefix: 'exp_avg_sq.' },
    ],
  },
]

const STATE_FILE = 'state.json'

/** `0050000`. */
export const checkpointName = (step: number) => String(step).padStart(7, '0')

/** The entries that a role covers: moments exist for trainable parameters only. */
function entriesOf(model: Model, role: ArenaRole): StateEntry[] {
  const moments = role === 'firstMoments' || role === 'secondMoments'
  return model.entries.filter(({ parameter }) => !moments || parameter.trainable)
}

/** Writes `FOLDER/STEP/`. The model must not train meanwhile. Throws, leaving what was there, when the disk refuses. */
export async function saveCheckpoint(
  folder: string,
  model: Model & { readonly config: SiTConfig },
  state: Omit<CheckpointState, 'format' | 'model'>,
): Promise<string> {
  await mkdir(folder, { recursive: true })
  const target = join(folder, checkpointName(state.step))
  const partial = `${target}.partial-${process.pid}`
  await rm(partial, { recursive: true, force: true })
  await mkdir(partial)
  try {
    for (const { file, parts } of FILES) {
      const entries = parts.flatMap(({ role, prefix }) =>
        entriesOf(model, role).map((entry) => ({
          name: prefix + entry.name,
          dtype: 'f32' as const,
          shape: entry.shape,
          data: async () => {
            using view = model.arena.view(role, entry)
            return (await view.toHost()).data
          },
        })),
      )
      await writeSafetensors(join(partial, file), entries, { checksum: true, fsync: true })
    }
    const json = await open(join(partial, STATE_FILE), 'wx')
    try {
      await json.writeFile(`${JSON.stringify({ format: FORMAT, ...state, model: model.config }, null, 2)}\n`)
      await json.sync()
    } finally {
      await json.close()
    }
    await syncFolder(partial)
    // A checkpoint of the same step (a run resumed from before it) has the same content: it gives way.
    await rm(target, { recursive: true, force: true })
    await rename(partial, target)
    await syncFolder(folder)
  } catch (cause) {
    await rm(partial, { recursive: true, force: true })
    throw new Error(`The checkpoint of step ${state.step} could not be written: ${messageOf(cause)}`, { cause })
  }
  return target
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** The newest whole checkpoint of a run's `checkpoints` folder, or undefined. What a kill left half written is removed. */
export async function newestCheckpoint(folder: string): Promise<string | undefined> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  for (const name of names) {
    if (name.includes('.partial-')) await rm(join(folder, name), { recursive: true, force: true })
  }
  const newest = names.filter((name) => /^\d{7,}$/.test(name)).sort((a, b) => Number(b) - Number(a))[0]
  return newest && join(folder, newest)
}

/** Reads a checkpoint's JSON. */
export async function readCheckpointState(checkpoint: string): Promise<CheckpointState> {
  const path = join(checkpoint, STATE_FILE)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new Error(`${checkpoint} is not a checkpoint: ${messageOf(cause)}`, { cause })
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new Error(`${path} is not JSON: ${messageOf(cause)}`, { cause })
  }
  return parseConfiguration(stateSchema, json, path)
}

/** Loads arrays of a checkpoint into a model: `weights` and `ema`, and for training also both moments. */
export async function loadCheckpoint(checkpoint: string, model: Model, roles: readonly ArenaRole[]): Promise<void> {
  for (const { file, parts } of FILES) {
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
      await loadState(entriesOf(model, role), model.arena, role, source)
    }
  }
}

/** Continues an optimizer's counters. */
export const countersOf = ({ updates, skipped }: CheckpointState): Pick<StepState, 'updates' | 'skipped'> => ({
  updates,
  skipped,
})

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
