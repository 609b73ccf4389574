// Workers that load the addon, compute, and end by themselves (`normally`) or by terminate() while work is queued.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { native } from './addon.mjs'

const WORKERS = 12

async function compute(count) {
  const x = native.empty([256, 256], 'f32', 'cpu')
  native.fill(x, 0.5)
  const reads = []
  for (let i = 0; i < count; i++) {
    const [product] = native.linear(x, x, null, 'none', false, 'f32')
    reads.push(native.read(product))
    native.dispose(product)
  }
  parentPort?.postMessage('queued')
  for (const bytes of await Promise.all(reads)) {
    if (new Float32Array(bytes).some((value) => value !== 64)) throw new Error('A product is wrong.')
  }
}

if (isMainThread) {
  for (let i = 0; i < WORKERS; i++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] === 'terminate' ? 300 : 20 })
    const ended = new Promise((resolve, reject) => worker.once('error', reject).once('exit', resolve))
    if (process.argv[2] === 'terminate') {
      await new Promise((resolve) => worker.once('message', resolve))
      // At another moment each time: before, while and after the first results come.
      await new Promise((resolve) => setTimeout(resolve, (7 * i) % 29))
      await worker.terminate()
    }
    await ended
  }
  await compute(5)
  console.log('all ended')
} else {
  await compute(workerData)
}
