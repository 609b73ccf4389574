// Uploads as no training makes them: many at once behind work that takes long, and one where free blocks fill the device.
import { native } from './addon.mjs'

const DEVICE = 'cuda:0'
const MIB = 2 ** 20

/** How much the process grows by 40 uploads of 8 MiB, one behind another, that cannot be taken from their slots yet. */
async function manyAtOnce() {
  const bytes = new Uint8Array(8 * MIB)
  native.dispose(native.fromHost(bytes, [bytes.length], 'u8', DEVICE))
  await native.synchronize(DEVICE)
  const before = process.memoryUsage().rss
  let x = native.fromHost(new Float32Array(512 * 512), [512, 512], 'f32', DEVICE)
  for (let i = 0; i < 4; i++) [x] = native.linear(x, x, undefined, 'none', false, 'f32')
  for (let i = 0; i < 40; i++) {
    bytes[0] = i
    native.dispose(native.fromHost(bytes, [bytes.length], 'u8', DEVICE))
  }
  const last = native.fromHost(bytes, [bytes.length], 'u8', DEVICE)
  const grown = process.memoryUsage().rss - before
  return { grown: Math.round(grown / MIB), first: new Uint8Array(await native.read(last))[0] }
}

/** An upload whose slot finds room only when a block that is kept for later has been given back. */
async function littleRoom() {
  native.dispose(native.empty([40 * MIB], 'u8', DEVICE))
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
  const kept = native.empty([44 * MIB], 'u8', DEVICE)
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

const run = { manyAtOnce, littleRoom, noRoom }[process.argv[2]]
console.log(JSON.stringify(await run()))
