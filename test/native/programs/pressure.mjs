// Without any call of gc(): the weight of forgotten tensors alone must make the collector run.
import { native } from './addon.mjs'

const BYTES = 16 << 20
let peak = 0
for (let i = 0; i < 400; i++) {
  native.empty([BYTES / 4], 'f32', 'cpu')
  peak = Math.max(peak, native.memoryStats('cpu').liveBytes)
  if (i % 4 === 0) await new Promise((resolve) => setImmediate(resolve))
}
console.log(JSON.stringify({ made: 400 * BYTES, peak }))
