// Stands in for bench/python/step.py and decode.py: the same lines of JSON, without torch. The mode says how it misbehaves.
import { createInterface } from 'node:readline'

const [mode] = process.argv.slice(2)
const info = {
  torch: '0.0',
  python: '3',
  threads: 2,
  blas: '/lib/libopenblas.so.0',
  wait_policy: 'passive',
  cpu_capability: 'AVX2',
  parameters: 7,
}
const say = (reply) => process.stdout.write(`${JSON.stringify(reply)}\n`)
let configured

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (mode === 'refuses') say({ error: 'the BLAS is unfit; do this.' })
  else if (request.configure) {
    configured = request.configure
    const { variant, compile, regions } = configured
    if (compile) process.stderr.write(`compiling ${variant}, ${compile}, ${regions}\n`)
    say({ ready: { ...info, threads: configured.threads, ...(mode === 'unknown-field' && { surprise: 1 }) } })
  } else if (request.quit) {
    if (mode !== 'stays') process.exit(0)
    setInterval(() => {}, 1000)
  } else if (mode === 'dies') {
    process.stderr.write('Killed by want of memory\n')
    process.exit(3)
  } else if (mode === 'babbles') process.stdout.write('Segmentation fault\n')
  else if (mode === 'negative') say({ seconds: [-1] })
  else if (mode === 'few') say({ seconds: [1] })
  else if (request.memory) say({ peak_rss_bytes: 1000 * (configured.model.hidden_size ?? 1) })
  else {
    // A decode is four times as fast channels-last.
    const divisor = configured.layout === 'channels-last' ? 4 : (configured.batch ?? 1)
    say({ seconds: Array.from({ length: request.step }, (_, i) => (i + 1) / divisor) })
  }
}
