// One process of several: `node communicator.mjs DEVICE ID RANK SIZE ELEMENTS,… [abort|beside|broken|full|graph|left|memory|others|unjoined]`. Prints what the
// exchanges give as JSON.
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { native } from './addon.mjs'

const [device, id, rank, size, elements, how] = process.argv.slice(2)
const [ownRank, processes] = [Number(rank), Number(size)]
const communicator = await native.openCommunicator(device, id, ownRank, processes)

const drawn = new Map()
/** Not exact in float32, so that the order of a sum shows; different in every process. A copy. */
const values = (count, process) => {
  const key = `${count} of ${process}`
  if (!drawn.has(key)) {
    const value = (i) => Math.fround(Math.sin(i + 1) * 10 ** (((i + process) % 5) - 2))
    drawn.set(
      key,
      Float32Array.from({ length: count }, (_, i) => value(i)),
    )
  }
  return drawn.get(key).slice()
}
const digest = (buffer) => createHash('sha256').update(new Uint8Array(buffer)).digest('hex')
const tensor = (data) => native.fromHost(data, [data.length], 'f32', device)

if (how === 'abort') {
  // Process 0 never comes to this exchange.
  if (ownRank > 0) {
    const lonely = tensor(values(10, ownRank))
    native.allReduceSum(communicator, [lonely])
    const read = native.read(lonely).then(
      () => 'read',
      (error) => error.message,
    )
    setTimeout(() => native.abortCommunicator(communicator, 'process 0 has gone.'), 200)
    console.log(JSON.stringify({ abort: await read }))
    native.resetDevice(device)
    native.allReduceSum(communicator, [lonely])
    await native.synchronize(device).catch((error) => console.error(error.message))
    // What has been reset stays so, though the other is missed some seconds after its end.
    native.resetDevice(device)
    await sleep(7000)
    await native.synchronize(device)
  }
  process.exit(0)
}

if (how === 'memory') {
  // Process 0 ends without a word, and this one hears nothing: it waits for memory that its queue gives back.
  if (ownRank > 0) {
    const lonely = tensor(values(10, ownRank))
    native.allReduceSum(communicator, [lonely])
    native.dispose(native.empty([1 << 20], 'f32', device))
    native.setMemoryLimit(device, native.memoryStats(device).liveBytes + 4 * (1 << 20))
    native.dispose(native.empty([1 << 19], 'f32', device))
    console.log(JSON.stringify({ memory: await native.read(lonely).catch((error) => error.message) }))
  }
  process.exit(0)
}

if (how === 'full') {
  // Likewise, and this one gives the device more than its queue takes.
  if (ownRank > 0) {
    const lonely = tensor(values(10, ownRank))
    native.allReduceSum(communicator, [lonely])
    for (let i = 0; i < 3000; i++) native.fill(lonely, i)
    console.log(JSON.stringify({ full: await native.synchronize(device).catch((error) => error.message) }))
    native.abortCommunicator(communicator, 'process 0 has gone.')
    native.closeCommunicator(communicator)
    native.resetDevice(device)
    native.fill(lonely, 7)
    console.log(new Float32Array(await native.read(lonely))[0])
  }
  process.exit(0)
}

if (how === 'graph') {
  // Process 0 never comes to the replay.
  const summed = tensor(values(10, ownRank))
  native.allReduceSum(communicator, [summed])
  await native.synchronize(device)
  native.beginCapture(device)
  native.allReduceSum(communicator, [summed])
  const graph = native.endCapture(device)
  if (ownRank > 0) {
    native.launchGraph(device, graph)
    native.abortCommunicator(communicator, 'process 0 has gone.')
    console.log(JSON.stringify({ graph: await native.synchronize(device).catch((error) => error.message) }))
    native.destroyGraph(device, graph)
    native.closeCommunicator(communicator)
  }
  process.exit(0)
}

if (how === 'broken') {
  // Both are there, and nothing passes between them.
  if (ownRank > 0) {
    native.allReduceSum(communicator, [tensor(values(10, ownRank))])
    console.log(JSON.stringify({ broken: await native.synchronize(device).catch((error) => error.message) }))
  } else {
    await sleep(9000)
  }
  process.exit(0)
}

if (how === 'left') {
  // It is let go of while a graph holds an exchange of it; the thread that will destroy the graph goes on.
  const summed = tensor(values(10, ownRank))
  native.allReduceSum(communicator, [summed])
  native.beginCapture(device)
  native.allReduceSum(communicator, [summed])
  const graph = native.endCapture(device)
  native.launchGraph(device, graph)
  const order = []
  const closed = native.closeCommunicator(communicator).then(() => order.push('closed'))
  await sleep(300)
  order.push('destroyed')
  native.destroyGraph(device, graph)
  await closed
  console.log(JSON.stringify(order))
  process.exit(0)
}

if (how === 'beside') {
  // What is read before the wait is not there yet, where calls of NCCL begin late: they hold nothing up.
  const count = 300
  const summed = tensor(values(count, ownRank))
  native.beginReduceSum(communicator, summed, Math.floor(count / processes), [0, count])
  const early = native.scale(summed, 1)
  native.awaitBegun(communicator)
  const late = native.scale(summed, 1)
  const own = (buffer) => {
    const share = Math.floor(count / processes)
    return digest(buffer.slice(4 * ownRank * share, 4 * (ownRank + 1) * share))
  }
  const total = values(count, 0).map((value, i) => value + values(count, 1)[i])
  const [wasThere, isThere] = [own(await native.read(early)), own(await native.read(late))]
  console.log(
    JSON.stringify({ early: wasThere === own(values(count, ownRank).buffer), late: isThere === own(total.buffer) }),
  )
  native.closeCommunicator(communicator)
  process.exit(0)
}

if (how === 'unjoined') {
  // A capture that nothing waits in for what it has begun, and one that waits for what was begun before.
  const gathered = tensor(values(10, ownRank))
  const refused = (begin) => {
    native.beginCapture(device)
    begin()
    try {
      native.destroyGraph(device, native.endCapture(device))
    } catch (error) {
      return error.message
    }
    return 'a graph'
  }
  const inside = refused(() => native.beginAllGather(communicator, gathered, 5))
  native.awaitBegun(communicator)
  native.beginAllGather(communicator, gathered, 5)
  const before = refused(() => native.awaitBegun(communicator))
  native.awaitBegun(communicator)
  const both = refused(() => {
    native.beginAllGather(communicator, gathered, 5)
    native.awaitBegun(communicator)
  })
  await native.synchronize(device)
  console.log(JSON.stringify({ inside, before, both }))
  native.closeCommunicator(communicator)
  process.exit(0)
}

if (how === 'others') {
  // Process 1 has cut the tensor elsewhere.
  const summed = tensor(values(10, ownRank))
  native.beginReduceSum(communicator, summed, 5, ownRank === 1 ? [0, 4] : [0, 5])
  native.awaitBegun(communicator)
  await native.synchronize(device)
  process.exit(0)
}

/** The furthest that a sum of all processes' values is from the exact one, in units of the terms' magnitudes. */
const furthestOf = (count, buffer) => {
  const all = Array.from({ length: processes }, (_, process) => values(count, process))
  return new Float32Array(buffer).reduce((most, sum, i) => {
    const [exact, magnitude] = all.reduce(([a, b], one) => [a + one[i], b + Math.abs(one[i])], [0, 0])
    return Math.max(most, Math.abs(sum - exact) / magnitude)
  }, 0)
}

const counts = elements.split(',').map(Number)
// Equal shares of all that there is but a rest, and smaller ones, so that the last process has more than the others.
const shares = counts.flatMap((count) => [
  { count, share: Math.floor(count / processes) },
  { count, share: Math.floor(count / (processes + 1)) },
])
/** Ranges of a tensor that go together: all of it, and pieces from its end on, as a backward pass makes them. */
const cutsOf = (count) => {
  const [a, b, c] = [Math.floor(count / 7), Math.floor(count / 2), Math.floor((3 * count) / 4)]
  return [
    [[0, count]],
    [
      [b, c, c, count],
      [0, a],
      [a, b],
    ],
  ]
}
const shared = shares.flatMap((one) => cutsOf(one.count).map((cuts) => ({ ...one, cuts })))
const summed = counts.map((count) => tensor(values(count, ownRank)))
native.allReduceSum(communicator, summed)
const given = counts.map((count) => tensor(values(count, ownRank)))
for (const [k, one] of given.entries()) native.broadcast(communicator, one, k % processes)
const scattered = shared.map(({ count }) => tensor(values(count, ownRank)))
for (const [k, one] of scattered.entries()) {
  for (const ranges of shared[k].cuts) native.beginReduceSum(communicator, one, shared[k].share, ranges)
  // Behind what has begun, and waited for with it.
  native.beginAllGather(communicator, one, shared[k].share)
}
native.awaitBegun(communicator)
const untouched = counts.map((count) => tensor(values(count, ownRank)))
for (const [k, one] of untouched.entries()) {
  native.beginReduceSum(communicator, one, 0, [0, Math.floor(counts[k] / 2)])
  native.awaitBegun(communicator)
}
const ownDoubles = ({ count, share }) => {
  const end = ownRank + 1 < processes ? (ownRank + 1) * share : count
  return Float64Array.from({ length: count }, (_, i) => (i >= ownRank * share && i < end ? Math.sin(i + 1) : 9))
}
const doubles = shares.map((one) => native.fromHost(ownDoubles(one), [one.count], 'f64', device))
for (const [k, one] of doubles.entries()) native.allGather(communicator, one, shares[k].share)
const regathered = await Promise.all(scattered.map((one) => native.read(one)))
const sums = await Promise.all(summed.map((one) => native.read(one)))
console.log(
  JSON.stringify({
    sums: sums.map(digest),
    given: await Promise.all(given.map(async (one) => digest(await native.read(one)))),
    inOrder: counts.map((count) => {
      const total = values(count, 0)
      for (let process = 1; process < processes; process++)
        for (const [i, value] of values(count, process).entries()) total[i] += value
      return digest(total.buffer)
    }),
    roots: counts.map((count, k) => digest(values(count, k % processes).buffer)),
    scattered: regathered.map(digest),
    doubles: await Promise.all(doubles.map(async (one) => digest(await native.read(one)))),
    untouched: await Promise.all(
      untouched.map(async (one, k) => digest((await native.read(one)).slice(4 * Math.floor(counts[k] / 2)))),
    ),
    rightUntouched: counts.map((count) => digest(values(count, ownRank).slice(Math.floor(count / 2)).buffer)),
    rightDoubles: shares.map(({ count }) =>
      digest(Float64Array.from({ length: count }, (_, i) => Math.sin(i + 1)).buffer),
    ),
    furthest: [
      ...counts.map((count, k) => furthestOf(count, sums[k])),
      ...shared.map(({ count }, k) => furthestOf(count, regathered[k])),
    ],
  }),
)
native.closeCommunicator(communicator)
