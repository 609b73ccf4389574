#!/usr/bin/env node
// What `npm test` does before the suite: builds the addon with what the tests need of it, and meanwhile the JavaScript, whose types and style
// it checks. Each of these runs on one core, and the C++ takes what they leave. Their lines come together, when they have ended.
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** Runs `command` to its end; its exit status, and what it wrote unless the terminal has it already. */
function run(command, stdio) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, { cwd: root, shell: true, stdio })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (more) => {
        text += more
      })
    }
    child.on('error', reject)
    child.on('close', (status) => resolve({ command, status, text }))
  })
}

async function checkTypeScript() {
  for (const script of ['build:ts', 'typecheck', 'lint']) {
    const ended = await run(`npm run ${script}`, ['ignore', 'pipe', 'pipe'])
    process.stderr.write(ended.text)
    if (ended.status !== 0) return ended
  }
  return { status: 0 }
}

const ended = await Promise.all([run('node scripts/build-native.mjs --simt', ['ignore', 2, 2]), checkTypeScript()])
for (const { command, status } of ended) {
  if (status === 0) continue
  console.error(`repa-native: ${command} failed; the lines above say why.`)
  process.exitCode = 1
}
