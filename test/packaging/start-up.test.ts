import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ROOT } from '../conventions/source-files.ts'

const built = existsSync(join(ROOT, 'dist/index.js'))
const library = `import(${JSON.stringify(`file://${join(ROOT, 'dist/index.js')}`)})`
const commandLine = join(ROOT, 'dist/cli/main.js')

const AT_EXIT = `data:text/javascript,${encodeURIComponent(`
  import { existsSync, readFileSync, writeSync } from 'node:fs'
  process.on('exit', () => {
    const { user, system } = process.cpuUsage()
    const maps = existsSync('/proc/self/maps') ? readFileSync('/proc/self/maps', 'utf8') : ''
    const addons = [...new Set(maps.match(/[^/]+\\.node$/gm))]
    writeSync(2, '\\n' + JSON.stringify({ milliseconds: (user + system) / 1000, addons }))
  })`)}`

/** A Node program's processor time, which unlike its seconds does not grow with what else the machine does, and the addons it loaded. */
function run(...words: string[]): { milliseconds: number; addons: string[] } {
  const { status, stderr } = spawnSync(process.execPath, ['--import', AT_EXIT, ...words], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`node ${words.join(' ')} ended with ${status}: ${stderr}`)
  return JSON.parse(stderr.trimEnd().split('\n').at(-1)!)
}

const cases = [
  // Where `node -e 0` took 95 ms, the library took 178 ms.
  { name: 'repa --help', words: [commandLine, '--help'], timesBareNode: 2.5 },
  { name: "import 'repa-native'", words: ['-e', library], timesBareNode: 2.5 },
]

const [LEAST_ROUNDS, ROUNDS] = [7, 40]

describe.skipIf(!built)('starting (dist is needed: npm run build:ts)', () => {
  test.each(cases)('$name takes at most $timesBareNode times what bare Node takes', ({ words, timesBareNode }) => {
    // What else the machine does takes its caches and its clock: the least of as many rounds as it takes, up to a number.
    let [bare, ours] = [Infinity, Infinity]
    for (let round = 0; round < ROUNDS && (round < LEAST_ROUNDS || ours >= timesBareNode * bare); round++) {
      bare = Math.min(bare, run('-e', '0').milliseconds)
      ours = Math.min(ours, run(...words).milliseconds)
    }
    expect(ours, `${ours.toFixed(0)} ms; bare Node: ${bare.toFixed(0)} ms`).toBeLessThan(timesBareNode * bare)
  })

  test('repa plan computes nothing, so it loads no addon either', () => {
    expect(run(commandLine, 'plan', 'sit-xl-2-repa', '--quiet').addons).toEqual([])
  })

  test.each(cases)('$name loads no addon, neither its own nor the image decoder', ({ words }) => {
    expect(run(...words).addons).toEqual([])
  })
})
