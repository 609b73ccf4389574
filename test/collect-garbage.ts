import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const gc: unknown = runInNewContext('gc')

/** What JavaScript can no longer reach is collected when this returns. */
export function collectGarbage(): void {
  if (typeof gc !== 'function') throw new Error('Node gave no gc() for --expose-gc.')
  gc()
}
