import { readFileSync } from 'node:fs'

/** The processes that a process has started, as Linux says. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
}
