// Uploads and reads as no training makes them: many at once behind work that takes long, large ones, and one where free blocks fill the device.
import { native } from './addon.mjs'

const DEVICE = 'cuda:0'
const MIB = 2 ** 20

/** How much the process grows by 100 uploads of 8 MiB, one behind another, that cannot be taken from their blocks yet. */
async function manyAtOnce() {
  const bytes = new Uint8Array(8 * MIB)
  native.dispose(native.fromHost(bytes, [bytes.length], 'u8', DEVICE))
  await native.synchronize(DEVICE)
  const before = process.memoryUsage().rss
  let x = native.fromHost(new Float32Array(512 * 512), [512, 512], 'f32', DEVICE)
  for (let i = 0; i < 4; i++) [x] = native.linear(x, x, undefined, 'none', false, 'f32')
  for (let i = 0; i < 100; i++) {
    bytes[0] = i
    native.dispose(native.fromHost(bytes, [bytes.length], 'u8', DEVICE))
  }
  const last = native.fromHost(bytes, [bytes.length], 'u8', DEVICE)
  const grown = process.memoryUsage().rss - before
  return { grown: Math.round(grown / MIB), first: new Uint8Array(await native.read(last))[0] }
}

/** An upload whose block finds room only when a block that is kept for later has been given back. */
async function littleRoom() {
  native.dispose(native.empty([48 * MIB], 'u8', DEVICE))
  const { cachedBytes } = native.memoryStats(DEVICE)
  const bytes = new Uint8Array(12 * MIB).fill(7)
  const tensor = native.fromHost(bytes, [bytes.length], 'u8', DEVICE)
  const read = new Uint8Array(await native.read(tensor))
  return {
    cachedBefore: cachedBytes,
    cachedAfter: native.memoryStats(DEVICE).cachedBytes,
    right: read.every((byte) => byte === 7),
  }
}

/** And one that finds none at all: the process goes on. */
async function noRoom() {
  const kept = native.empty([48 * MIB], 'u8', DEVICE)
  let message = ''
  try {
    const tensor = native.fromHost(new Uint8Array(12 * MIB), [12 * MIB], 'u8', DEVICE)
    await native.read(tensor)
  } catch (error) {
    message = error.message
  }
  native.dispose(kept)
  const small = native.fromHost(new Uint8Array([5]), [1], 'u8', DEVICE)
  return { message, after: new Uint8Array(await native.read(small))[0] }
}

/** Whether what is read of `count` bytes is what was uploaded; no piece of it looks like another. */
async function roundTrip(count) {
  const bytes = new Uint8Array(count)
  const words = new Uint32Array(bytes.buffer, 0, count >> 2)
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i, 2654435761)
  const tensor = native.fromHost(bytes, [count], 'u8', DEVICE)
  const read = await native.read(tensor)
  native.dispose(tensor)
  return Buffer.compare(Buffer.from(read), Buffer.from(bytes.buffer)) === 0
}

/** One that a device has room for, and little beside it. */
async function large() {
  return { right: await roundTrip(130 * MIB) }
}

/** Of sizes around those of the pieces. */
async function odd() {
  const piece = 8 * MIB
  const right = []
  for (const size of [1, 65536, 65537, piece - 1, piece, piece + 1, 2 * piece + 3, 9 * piece])
    right.push(await roundTrip(size))
  return { right }
}

/** How much of the device ten sizes of uploads have taken for good. */
async function tenSizes() {
  for (let i = 0; i < 60; i++) {
    const bytes = new Uint8Array(100 * 1024 * 2 ** (i % 10))
    native.dispose(native.fromHost(bytes, [bytes.length], 'u8', DEVICE))
  }
  await native.synchronize(DEVICE)
  native.trimMemory(DEVICE)
  const { limitBytes } = native.memoryStats(DEVICE)
  native.dispose(native.empty([limitBytes - 260 * MIB], 'u8', DEVICE))
  return { limitBytes }
}

/** How much the process has grown after four large reads, at once and one after another, whose results are gone. */
async function largeReads() {
  const tensor = native.empty([33 * MIB], 'f32', DEVICE)
  native.fill(native.view(tensor, 0, [1]), 3)
  await native.synchronize(DEVICE)
  globalThis.gc()
  const before = process.memoryUsage().rss
  const first = (await Promise.all([1, 2].map(() => native.read(tensor)))).map((read) => new Float32Array(read)[0])
  for (let i = 0; i < 2; i++) first.push(new Float32Array(await native.read(tensor))[0])
  await new Promise((resolve) => setTimeout(resolve, 50))
  globalThis.gc()
  await new Promise((resolve) => setTimeout(resolve, 50))
  return { first, grown: Math.round((process.memoryUsage().rss - before) / MIB) }
}

/** 20,000 numbers, each behind the last in one tensor, behind work that takes long; and how much the process grows by them. */
async function manySmall() {
  const count = 20_000
  const numbers = native.fromHost(new Float32Array(count), [count], 'f32', DEVICE)
  const places = Array.from({ length: count }, (_, i) => native.view(numbers, i, [1]))
  await native.synchronize(DEVICE)
  const before = process.memoryUsage().rss
  let x = native.fromHost(new Float32Array(512 * 512), [512, 512], 'f32', DEVICE)
  for (let i = 0; i < 12; i++) [x] = native.linear(x, x, undefined, 'none', false, 'f32')
  const value = new Float32Array(1)
  for (let i = 0; i < count; i++) {
    value[0] = i
    native.write(places[i], value)
  }
  const grown = Math.round((process.memoryUsage().rss - before) / MIB)
  const read = new Float32Array(await native.read(numbers))
  return { grown, right: read.every((number, i) => number === i) }
}

const run = { manyAtOnce, littleRoom, noRoom, large, odd, tenSizes, largeReads, manySmall }[process.argv[2]]
console.log(JSON.stringify(await run()))
