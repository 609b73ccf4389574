#!/usr/bin/env node
// What a program's kernels ask of memory, counted on the shim: the conflicts of shared memory's banks and the sectors of global memory that a
// chip would take for it, by kernel and by line, beside the least that as many bytes take. An estimate (native/simt/traffic/traffic.h).
//   node scripts/kernel-traffic.mjs PROGRAM [ARGUMENTS]
// REPA_SIMT_ARCH names the chip: 90 (Hopper's kernels, the default), 80, …
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readTraffic, trafficByKernel, trafficByLine } from './traffic-report.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const build = join(root, 'build/simt-traffic')
const addon = join(build, 'build/Release/repa_native.node')
const LINES = 40

const [program, ...words] = process.argv.slice(2)
if (program === undefined) {
  console.error('usage: kernel-traffic PROGRAM [ARGUMENTS]')
  process.exit(2)
}
if (!existsSync(addon)) {
  console.error(`kernel-traffic: there is no ${addon}; node scripts/build-native.mjs --simt builds it.`)
  process.exit(1)
}
const folder = mkdtempSync(join(tmpdir(), 'repa-traffic-'))
try {
  const file = join(folder, 'traffic')
  const env = { ...process.env, REPA_NATIVE_PREBUILD: build, REPA_SIMT_TRAFFIC: file }
  const { status } = spawnSync(process.execPath, [program, ...words], { env, stdio: ['ignore', 2, 2] })
  if (status !== 0) {
    console.error(`kernel-traffic: ${program} ended with ${status}.`)
    process.exitCode = 1
  } else if (!existsSync(file)) {
    console.error(`kernel-traffic: ${program} has not loaded the addon, and so no kernel.`)
    process.exitCode = 1
  } else {
    print(readTraffic(readFileSync(file, 'utf8')))
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function print(instructions) {
  const row = (space, what, { requests, units, least }) =>
    `${space.padEnd(18)}${String(requests).padStart(10)}${String(units).padStart(11)}${String(least).padStart(11)}${(units / Math.max(1, least)).toFixed(2).padStart(7)}  ${what}`
  const head = `${' '.repeat(18)}  requests      units      least  ratio  `
  console.log(`${head}kernel (units: passes through the banks, or sectors of 32 bytes)`)
  for (const each of trafficByKernel(instructions)) console.log(row(each.space, each.kernel, each))
  const lines = trafficByLine(instructions, addon).filter(({ units, least }) => units > least)
  console.log(`\n${head}line${lines.length > LINES ? ` (${LINES} of ${lines.length})` : ''}`)
  for (const each of lines.slice(0, LINES))
    console.log(row(`${each.space} ${each.kind} ${each.bytes} B`, each.line, each))
}
