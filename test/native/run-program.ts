import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** Runs one of the programs of this folder in a process of its own, with the addon and nothing else. */
export function runProgram(
  name: string,
  { args = [], flags = [], env = {} }: { args?: string[]; flags?: string[]; env?: Record<string, string> } = {},
): SpawnSyncReturns<string> {
  const path = join(import.meta.dirname, 'programs', `${name}.mjs`)
  return spawnSync(process.execPath, [...flags, path, ...args], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 60_000,
  })
}
