// node scripts/keep-ptxas-report.mjs NVCC WORDS…: compiles kernels with -Xptxas=-v among the words, and keeps what ptxas then says beside the
// object, in OBJECT.ptxas, for test/native/ptxas.test.ts; the terminal is told only what is no report.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

const [compiler, ...words] = process.argv.slice(2)
const { status, stderr, error } = spawnSync(compiler, words, {
  stdio: ['ignore', 'inherit', 'pipe'],
  encoding: 'utf8',
  maxBuffer: 1 << 26,
})
if (error) throw error
writeFileSync(`${words[words.indexOf('-o') + 1]}.ptxas`, stderr)
const isReport = (line) => /^ptxas info|^\s+\d+ bytes stack frame/.test(line)
process.stderr.write(status === 0 ? stderr.replace(/^.*\n?/gm, (line) => (isReport(line) ? '' : line)) : stderr)
process.exitCode = status ?? 1
