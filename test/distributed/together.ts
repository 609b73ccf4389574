import type { AddressInfo } from 'node:net'
import { FollowingGroup } from '../../src/distributed/following-group.ts'
import { LeadingGroup, listen } from '../../src/distributed/leading-group.ts'
import { ALONE, type World } from '../../src/distributed/world.ts'

/**
 * Runs a job as so many processes would, all of them parts of this one: they talk as processes do, and have no tensors to exchange.
 *
 * @returns how it ended for each, the leader first
 */
export async function together<Result>(
  size: number,
  job: (world: World) => Promise<Result>,
): Promise<PromiseSettledResult<Result>[]> {
  if (size === 1) return Promise.allSettled([job(ALONE)])
  const server = await listen('127.0.0.1', 0)
  const { port } = server.address() as AddressInfo
  const token = 'of this test'
  const place = { size, token, host: '127.0.0.1', port, launcher: 'a test' }
  const groups = await Promise.all([
    LeadingGroup.gather(server, { size, token, id: () => '', oneMachine: true }),
    ...Array.from({ length: size - 1 }, (_, i) => FollowingGroup.join({ ...place, rank: i + 1, localRank: i + 1 })),
  ])
  return Promise.allSettled(
    groups.map(async ({ group }, rank) => {
      const agree = async <Value>(value: Value) => (await group.agree(value)) as Value
      const meet = async () => void (await group.agree(null))
      const comesTo = (place: string) => group.comesTo(place)
      const begins: World['begins'] = (...asked) => group.begins(...asked)
      try {
        const result = await job({ ...ALONE, rank, size, agree, meet, comesTo, begins })
        await group.leave()
        return result
      } catch (error) {
        group.fail((error as Error).message)
        throw error
      }
    }),
  )
}
