// Steps that dispose what they make, over and over: once the collector knows how much is alive at most, it has no reason to run.
import { PerformanceObserver } from 'node:perf_hooks'
import { native } from './addon.mjs'

const BYTES = 64 << 20
const PASSES = 40

let collections = 0
new PerformanceObserver((list) => {
  collections += list.getEntries().filter(({ detail }) => detail.kind !== MINOR).length
}).observe({ entryTypes: ['gc'] })
/** Of PerformanceEntry.detail.kind: the young generation's, which goes by the number of objects. */
const MINOR = 1

const step = () => {
  const tensors = Array.from({ length: 8 }, () => native.empty([BYTES / 4], 'f32', 'cpu'))
  for (const tensor of tensors) native.dispose(tensor)
}
const settled = () => new Promise((resolve) => setTimeout(resolve, 20))

step()
await settled()
const first = collections
for (let i = 0; i < PASSES; i++) {
  step()
  await new Promise((resolve) => setImmediate(resolve))
}
await settled()
console.log(JSON.stringify({ first, after: collections - first }))
