// A user's program with processes of its own, in one of the ways that such a program may go wrong: `of-a-user.ts WAY`.
import { withProcesses } from '../../../src/distributed/join.ts'
import type { World } from '../../../src/distributed/world.ts'

const [, , way] = process.argv
if (way === 'ends at once' && process.env.REPA_RANK !== undefined) process.exit(0)

async function job(world: World): Promise<string> {
  await world.agree('here')
  if (way === 'throws no message' && world.rank === 1) throw new Error()
  return world.agree('done')
}

const times = way === 'twice' ? 2 : 1
for (let time = 0; time < times; time++) {
  try {
    console.log(await withProcesses({ processes: 2, device: 'cpu' }, job))
  } catch (error) {
    console.log((error as Error).message)
  }
}
