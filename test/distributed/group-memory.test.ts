import { expect, test } from 'vitest'
import type { World } from '../../src/distributed/world.ts'
import { collectGarbage } from '../collect-garbage.ts'
import { together } from './together.ts'

/** The leader among them. */
const PROCESSES = 4
const SETTLED = 2000
const STEPS = 12_000
/** What a promise that is pending holds of whoever awaits it at the least: V8's PromiseReaction, of five pointers or more. */
const REACTION_BYTES = 5 * 8

function heldBytes(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

/** Makes steps up to number `end`; all are there when it returns. */
async function makeSteps(world: World, begin: number, end: number): Promise<void> {
  for (let step = begin; step < end; step++) await world.begins(step, false)
  await world.meet()
}

test(`${STEPS} steps that ${PROCESSES} processes begin together hold no more memory than ${SETTLED}`, async () => {
  let [before, after] = [0, 0]
  const ended = await together(PROCESSES, async (world) => {
    await makeSteps(world, 0, SETTLED)
    if (world.rank === 0) before = heldBytes()
    await makeSteps(world, SETTLED, STEPS)
    if (world.rank === 0) after = heldBytes()
  })
  expect(ended.map(({ status }) => status)).toEqual(ended.map(() => 'fulfilled'))
  // In every step the leader waits for the others once or more.
  expect(after - before).toBeLessThan((STEPS - SETTLED) * REACTION_BYTES)
})
