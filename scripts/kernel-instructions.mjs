#!/usr/bin/env node
// What nvcc has made of kernels: the instructions of each loop, by the unit of an SM that executes them, and how wide they access memory. The
// shim runs the sources, and cannot show it.
//   node scripts/kernel-instructions.mjs FILE [NAME]
// FILE: an object, a cubin or the addon; NAME: text that the names of the kernels contain, as "attentionSm90Kernel<bf16, 256, 72>".
// Needs cuobjdump and nvdisasm of a CUDA toolkit; c++filt, where it is, makes the names readable.
import { spawnSync } from 'node:child_process'
import { readMachineCode } from './machine-code.mjs'

const [file, wanted = ''] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: kernel-instructions FILE [NAME]')
  process.exit(2)
}
const run = (command, args, input) => spawnSync(command, args, { encoding: 'utf8', input, maxBuffer: 2 ** 30 })
const dump = run('cuobjdump', ['-sass', file])
if (dump.error) {
  console.error(
    `kernel-instructions: cuobjdump does not run (${dump.error.message}); it comes with a CUDA toolkit, in its bin.`,
  )
  process.exit(1)
}
const kernels = readMachineCode(dump.stdout)
if (dump.status !== 0 || kernels.length === 0) {
  console.error(`kernel-instructions: cuobjdump found no kernel's machine code in ${file}. ${dump.stderr.trim()}`)
  process.exit(1)
}
const filtered = run('c++filt', [], kernels.map(({ name }) => name).join('\n'))
const names = filtered.status === 0 ? filtered.stdout.split('\n') : kernels.map(({ name }) => name)

/** Without its arguments, what it returns and the namespaces of this project. */
const shorten = (name) => name.replace(/^void |repa::cuda::|\(anonymous namespace\)::/g, '').replace(/\([^()]*\)$/, '')
const counts = (pairs) => pairs.map(([what, count]) => `${what} ${count}`).join(', ')

let printed = 0
for (const [index, { architecture, count, loops }] of kernels.entries()) {
  const name = shorten(names[index])
  if (!name.includes(wanted)) continue
  printed++
  console.log(`${name}, ${architecture}: ${count} instructions`)
  for (const loop of loops) {
    // What only waits: for a barrier's phase, say.
    if (loop.accesses.length === 0 && !loop.units.some(([unit]) => unit === 'tensor')) continue
    const [first, last] = [loop.first, loop.last].map((address) => address.toString(16).padStart(4, '0'))
    console.log(`  ${first}-${last}  ${String(loop.count).padStart(5)}  ${counts(loop.units)}`)
    if (loop.accesses.length > 0) console.log(`${' '.repeat(20)}${counts(loop.accesses)}`)
  }
}
if (printed === 0) {
  console.error(
    `kernel-instructions: none of the ${kernels.length} kernels in ${file} has ${JSON.stringify(wanted)} in its name.`,
  )
  process.exitCode = 1
}
