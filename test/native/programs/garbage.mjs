// Tensors that nobody disposes: the collector must give their memory back. Run with --expose-gc.
import { native } from './addon.mjs'

const BYTES = 4 << 20
for (let i = 0; i < 64; i++) native.fill(native.empty([BYTES / 4], 'f32', 'cpu'), i)
const before = native.memoryStats('cpu').liveBytes
for (let i = 0; i < 10 && native.memoryStats('cpu').liveBytes > 0; i++) {
  globalThis.gc()
  await new Promise((resolve) => setImmediate(resolve))
}
console.log(JSON.stringify({ before, after: native.memoryStats('cpu').liveBytes }))
