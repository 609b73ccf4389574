// Where the products and the attention of a step wait on a GPU: each launched once under Nsight Compute, at the sizes of a model's step.
//     node scripts/gpu-profile.mjs DEVICE MODEL BATCH
// Prints a JSON object a launch, a line each: its time and traffic, what its warps waited for, and the instructions where they did most.
// REPA_NCU names Nsight Compute's command; default: ncu.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readRawPage, readSourcePage, whereItWaits } from './ncu-report.mjs'

/** By the functions' names: random numbers and casts, of which operands are made, are none of them. */
const KERNELS = 'regex:^(attention|gemm|patchEmbed)'
const METRICS = [
  'gpu__time_duration.sum',
  'sm__cycles_elapsed.max',
  'smsp__inst_executed.sum',
  'sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active',
  'sm__throughput.avg.pct_of_peak_sustained_elapsed',
  'dram__bytes_read.sum',
  'dram__bytes_write.sum',
  'lts__t_sectors_op_read.sum',
  'l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum',
  'launch__registers_per_thread',
]

/** The program's stdout. Throws what it said where it fails. */
function run(program, args) {
  const { error, status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 30 })
  if (!error && status === 0) return stdout
  const said = error ? error.message : (stdout + stderr).slice(-4000).trim()
  throw new Error(`${said}\ngpu-profile: ${program} ${args.join(' ')} failed.`)
}

const words = process.argv.slice(2)
if (words.length !== 3) {
  console.error('usage: gpu-profile DEVICE MODEL BATCH')
  process.exit(2)
}
const ncu = process.env.REPA_NCU || 'ncu'
const folder = mkdtempSync(join(tmpdir(), 'repa-profile-'))
try {
  const report = join(folder, 'profile.ncu-rep')
  const launches = join(dirname(fileURLToPath(import.meta.url)), 'gpu-profile-launches.mjs')
  // The clocks stay as they are; ncu would hold them down to compare runs.
  const how = ['--target-processes', 'all', '--clock-control', 'none', '--set', 'full', '--kernel-name', KERNELS]
  run(ncu, [...how, '--export', report, '--force-overwrite', process.execPath, launches, ...words])
  const page = (...which) => run(ncu, ['--import', report, '--csv', '--page', ...which])
  const raw = readRawPage(page('raw', '--print-units', 'base'), METRICS)
  const source = readSourcePage(page('source', '--print-source', 'sass'))
  if (raw.length === 0 || raw.length !== source.length) {
    console.error(
      `gpu-profile: Nsight Compute's report has ${raw.length} launches and the source of ${source.length}; expected as many.`,
    )
    process.exitCode = 1
  }
  for (const [i, launch] of raw.entries()) {
    console.log(JSON.stringify({ launch: i, ...launch, ...(source[i] ? whereItWaits(source[i]) : {}) }))
  }
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
