/** What processes say to each other, here between the parts of one. */
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { FollowingGroup } from '../../src/distributed/following-group.ts'
import type { Group } from '../../src/distributed/group.ts'
import { type Gathering, LeadingGroup, listen } from '../../src/distributed/leading-group.ts'
import type { Place } from '../../src/distributed/place.ts'
import { StepImpossible, StoppedByAnother } from '../../src/distributed/world.ts'

const TOKEN = 'known to us'

/** A leader's port, and the place of each of the others. */
async function open(size: number) {
  const server = await listen('127.0.0.1', 0)
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const place = (rank: number): Place => ({
    rank,
    size,
    localRank: rank,
    host: '127.0.0.1',
    port,
    token: TOKEN,
    launcher: 'a test',
  })
  const gather = (more: Partial<Gathering> = {}) =>
    LeadingGroup.gather(server, { size, token: TOKEN, id: () => 'the id', oneMachine: false, ...more })
  return { port, place, gather }
}

/** The leader first. */
async function groupsOf(size: number): Promise<Group[]> {
  const { place, gather } = await open(size)
  const following = Array.from({ length: size - 1 }, (_, i) => FollowingGroup.join(place(i + 1)))
  const { group: leading } = await gather()
  const joined = await Promise.all(following)
  expect(joined.map(({ id }) => id)).toEqual(joined.map(() => 'the id'))
  return [leading, ...joined.map(({ group }) => group)]
}

const all = <Result>(groups: readonly Group[], call: (group: Group, rank: number) => Promise<Result>) =>
  Promise.all(groups.map(call))

/** How each of some promises ends, in words. */
const endings = async (promises: readonly Promise<unknown>[]) =>
  (await Promise.allSettled(promises)).map((one) =>
    one.status === 'fulfilled' ? `gave ${JSON.stringify(one.value)}` : (one.reason as Error).message,
  )

test.each([2, 3, 5])("%d processes agree on the leader's values, step by step, and leave", async (size) => {
  const groups = await groupsOf(size)
  expect(await all(groups, (group, rank) => group.agree({ rank, list: [null, 'é\n'] }))).toEqual(
    groups.map(() => ({ rank: 0, list: [null, 'é\n'] })),
  )
  for (let step = 7; step < 10; step++) {
    expect(await all(groups, (group) => group.begins(step, false))).toEqual(groups.map(() => true))
  }
  expect(await all(groups, (group, rank) => group.agree(rank))).toEqual(groups.map(() => 0))
  await all(groups, (group) => group.leave())
})

test('nobody passes a meeting before all have come', async () => {
  const groups = await groupsOf(3)
  const passed: number[] = []
  const meet = (rank: number) => groups[rank]!.agree(1).then(() => passed.push(rank))
  const first = [meet(0), meet(2)]
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(passed).toEqual([])
  await Promise.all([...first, meet(1)])
  expect(passed.sort()).toEqual([0, 1, 2])
})

test.each([0, 1, 2])('when process %d wants to stop, all stop before that step, and may go on later', async (who) => {
  const groups = await groupsOf(3)
  expect(await all(groups, (group) => group.begins(3, false))).toEqual([true, true, true])
  expect(await all(groups, (group, rank) => group.begins(4, rank === who))).toEqual([false, false, false])
  expect(await all(groups, (group) => group.begins(4, false))).toEqual([true, true, true])
  await all(groups, (group) => group.leave())
})

test.each([
  [0, 'the folder is gone.'],
  [1, 'process 1 of 3: the folder is gone.'],
  [2, 'process 2 of 3: the folder is gone.'],
] as const)('where process %d cannot make a step, all hear why before it, and may act together', async (who, words) => {
  const groups = await groupsOf(3)
  const asked = groups.map((group, rank) =>
    group.begins(5, false, rank === who ? new Error('the folder is gone.') : undefined),
  )
  for (const one of asked) await expect(one).rejects.toThrow(StepImpossible)
  expect(await endings(asked)).toEqual([words, words, words])
  await all(groups, (group) => group.comesTo('the checkpoint of step 5'))
  expect(await all(groups, (group) => group.agree(1))).toEqual([1, 1, 1])
  await all(groups, (group) => group.leave())
})

test('where several cannot make a step, all hear of the first of them', async () => {
  const groups = await groupsOf(3)
  const asked = groups.map((group, rank) => group.begins(5, rank === 0, rank > 0 ? new Error(`${rank}.`) : undefined))
  expect(await endings(asked)).toEqual(new Array(3).fill('process 1 of 3: 1.'))
  await all(groups, (group) => group.leave())
})

test("a follower's failure ends all of them, in words that say whose it was", async () => {
  const groups = await groupsOf(3)
  const waiting = [groups[0]!.agree(1), groups[1]!.begins(4, false)]
  groups[2]!.fail('the file is not there.')
  const words = 'process 2 of 3: the file is not there.'
  expect(await endings([...waiting, ...groups.map(({ failure }) => failure)])).toEqual([
    ...[words, words, words, words],
    'the file is not there.',
  ])
  // And whatever is called from now on.
  expect(await endings([groups[0]!.begins(5, false), groups[1]!.agree(2)])).toEqual([words, words])
})

test.each([
  [0, 'stopped by SIGTERM'],
  [1, 'process 1 of 3: stopped by SIGTERM'],
])('that process %d was asked to stop ends the others, and is no failure of theirs', async (rank, words) => {
  const groups = await groupsOf(3)
  groups[rank]!.fail('stopped by SIGTERM', true)
  for (const other of groups.toSpliced(rank, 1)) {
    const error = await other.failure.catch((error: Error) => error)
    expect(error).toBeInstanceOf(StoppedByAnother)
    expect(error.message).toBe(words)
  }
})

test("the leader's failure ends all of them", async () => {
  const groups = await groupsOf(2)
  const waiting = groups[1]!.begins(4, false)
  groups[0]!.fail('the disk is full.')
  expect(await endings([waiting, groups[0]!.failure])).toEqual(['the disk is full.', 'the disk is full.'])
})

test('a process that is at another step, or asks for something else, says so', async () => {
  for (const [own, is] of [
    [(group: Group) => group.begins(5, false), 'is at step 5'],
    [(group: Group) => group.agree(1), 'has come to a meeting'],
  ] as const) {
    const [leading, following] = await groupsOf(2)
    const words = `it ${is}, and process 0 is at step 4.`
    expect(await endings([own(following!), leading!.begins(4, false)])).toEqual([words, `process 1 of 2: ${words}`])
  }
})

test('processes that are not at one place of the program fail, whoever is where', async () => {
  const together = await groupsOf(3)
  await all(together, (group) => group.comesTo('the checkpoint of step 4'))
  await all(together, (group) => group.leave())
  const table = [
    { leader: 'a checkpoint', own: (group: Group) => group.comesTo('another'), is: 'has come to another' },
    { leader: 'a checkpoint', own: (group: Group) => group.begins(5, false), is: 'is at step 5' },
    { leader: 'a checkpoint', own: (group: Group) => group.leave(), is: 'has come to its end' },
  ]
  for (const { leader, own, is } of table) {
    const [leading, following] = await groupsOf(2)
    const answer = own(following!)
    await leading!.comesTo(leader)
    const words = `it ${is}, and process 0 has come to ${leader}.`
    expect(await endings([answer, leading!.failure])).toEqual([words, `process 1 of 2: ${words}`])
  }
})

test('a process that has done its part where another has more to do says so, whichever it is', async () => {
  const early = await groupsOf(2)
  const left = early[1]!.leave()
  expect(await endings([left, early[0]!.begins(4, false)])).toEqual([
    'it has come to its end, and process 0 is at step 4.',
    'process 1 of 2: it has come to its end, and process 0 is at step 4.',
  ])
  for (const [own, is] of [
    [(group: Group) => group.agree(1), 'has come to a meeting'],
    [(group: Group) => group.begins(5, false), 'is at step 5'],
    [(group: Group) => group.comesTo('a checkpoint'), 'has come to a checkpoint'],
  ] as const) {
    const late = await groupsOf(2)
    const asked = own(late[1]!)
    const words = `it ${is}, and process 0 has come to its end.`
    // Where the other has said that it is ready, the leader may have left already.
    const [left, failed] = await endings([late[0]!.leave(), asked])
    expect(failed).toBe(words)
    expect([`process 1 of 2: ${words}`, 'gave undefined']).toContain(left)
  }
})

test('a process whose leader fails while it waits to leave fails too', async () => {
  const groups = await groupsOf(2)
  const left = groups[1]!.leave()
  groups[0]!.fail('the disk is full.')
  expect(await endings([left])).toEqual(['the disk is full.'])
})

test('a process that repa has started does not wait for a leader that is gone', async () => {
  const { port, place, gather } = await open(2)
  const gathering = gather({ lost: Promise.resolve('over') })
  await expect(gathering).rejects.toThrow('over')
  const began = Date.now()
  await expect(FollowingGroup.join({ ...place(1), launcher: 'repa' })).rejects.toThrow(
    `Process 0 does not answer at 127.0.0.1:${port}: connect ECONNREFUSED`,
  )
  expect(Date.now() - began).toBeLessThan(10_000)
})

test('a process that comes to the port of another run says so', async () => {
  const { place, gather, port } = await open(2)
  const gathering = gather()
  await expect(FollowingGroup.join({ ...place(1), token: 'of another run' })).rejects.toThrow(
    `process 0 has ended before all had come, or what listens at 127.0.0.1:${port} is of another run.`,
  )
  const [{ group: leading }, { group }] = await Promise.all([gathering, FollowingGroup.join(place(1))])
  await all([leading, group], (one) => one.leave())
})

/** A connection that says `text`. */
async function stranger(port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

const hello = (more: object) =>
  `${JSON.stringify({ kind: 'hello', rank: 1, size: 2, token: TOKEN, machine: 'here', ...more })}\n`

test.each([
  ['another token', hello({ token: 'guessed' })],
  ['a rank that there is not', hello({ rank: 2 })],
  ['no JSON', 'GET / HTTP/1.1\n\n'],
  ['another message', '{"kind":"ready"}\n'],
  ['a message that does not end', 'x'.repeat(2 ** 20 + 2)],
])('a stranger with %s is sent away, and keeps nobody out', async (_, text) => {
  const { port, place, gather } = await open(2)
  const gathering = gather()
  const socket = await stranger(port, text)
  await once(socket, 'close')
  const [{ group: leading }, { group }] = await Promise.all([gathering, FollowingGroup.join(place(1))])
  await all([leading, group], (one) => one.leave())
})

test.each([
  ['of another size', hello({ size: 3 }), {}, 'process 1 is one of 3, and process 0 one of 2.'],
  [
    'on another machine',
    hello({}),
    { oneMachine: true },
    /^process 1 of 2 is on here and process 0 on .*; processes that compute on CPUs have to be on one machine\.$/,
  ],
])('a process %s ends the gathering', async (_, text, more, message) => {
  const { port, gather } = await open(2)
  const gathering = gather(more)
  gathering.catch(() => {})
  const socket = await stranger(port, text)
  let heard = ''
  socket.setEncoding('utf8').on('data', (said: string) => {
    heard += said
  })
  await expect(gathering).rejects.toThrow(message)
  await once(socket, 'close')
  expect(JSON.parse(heard)).toMatchObject({ kind: 'failed', reason: expect.stringMatching(message) })
})

test('a process that ends while the others are waited for ends the gathering', async () => {
  const { port, gather } = await open(3)
  const gathering = gather()
  gathering.catch(() => {})
  const socket = await stranger(port, hello({ size: 3 }))
  await new Promise((resolve) => setTimeout(resolve, 50))
  socket.destroy()
  await expect(gathering).rejects.toThrow('process 1 of 3 has ended')
})

test('whoever has said nothing when all are here is sent away, and nobody listens any more', async () => {
  const { port, place, gather } = await open(2)
  const gathering = gather()
  const silent = await stranger(port, '')
  const gone = once(silent, 'close')
  const [{ group: leading }, { group }] = await Promise.all([gathering, FollowingGroup.join(place(1))])
  await gone
  const late = connect(port, '127.0.0.1')
  const [error] = await once(late, 'error')
  expect(error).toMatchObject({ code: 'ECONNREFUSED' })
  await all([leading, group], (one) => one.leave())
})

test('where the id cannot be made, all hear why', async () => {
  const { place, gather } = await open(2)
  const id = () => {
    throw new Error('NCCL is not here.')
  }
  expect(await endings([gather({ id }), FollowingGroup.join(place(1))])).toEqual([
    'NCCL is not here.',
    'NCCL is not here.',
  ])
})

test('a process that is known to be lost ends the gathering, and the group', async () => {
  const { gather } = await open(2)
  await expect(gather({ lost: Promise.resolve('process 1 of 2 could not be started.') })).rejects.toThrow(
    'process 1 of 2 could not be started.',
  )
  const { place, gather: again } = await open(2)
  let lose: (reason: string) => void = () => {}
  const lost = new Promise<string>((resolve) => {
    lose = resolve
  })
  const [{ group: leading }, { group }] = await Promise.all([again({ lost }), FollowingGroup.join(place(1))])
  lose('process 1 of 2 has ended (SIGKILL).')
  expect(await endings([leading.failure, group.failure])).toEqual([
    'process 1 of 2 has ended (SIGKILL).',
    'process 1 of 2 has ended (SIGKILL).',
  ])
})
