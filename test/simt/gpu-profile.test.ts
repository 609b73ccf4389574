import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const built = existsSync(join(root, 'dist/index.js'))

/** As Nsight Compute prints its pages: messages, a line for each launch; a kernel's name, columns, a line for each instruction. */
const RAW = `==PROF== Connected to process 7
"ID","Process ID","Kernel Name","Grid Size","gpu__time_duration.sum","dram__bytes_read.sum","sm__pipes.sum"
"","","","","ns","byte",""
"0","7","void gemmSm90Kernel<repa::cuda::bf16, 128, 128>(Sm90Group)","(132, 1, 1)","750,100","453,000,000","1"
"1","7","attentionSm90Kernel","(132, 1, 1)","146000","","2"
`
const COLUMNS =
  '"#","Address","Source","Warp Stall Sampling (All Samples)","Warp Stall Sampling (Not-issued Samples)","Instructions Executed","stall_barrier","stall_wait","stall_wait (Not Issued)"'
const SOURCE = `"Kernel Name","void gemmSm90Kernel<repa::cuda::bf16, 128, 128>(Sm90Group)"
${COLUMNS}
"1","0x7f00","      HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24, gsb0 ","1,500","900","2000","0","1500","900"
"2","0x7f10","      WARPGROUP.DEPBAR.LE gsb0, 0x1 ","490","400","2000","400","90","3"
"3","0x7f20","      @P0 BRA 0x7f00 ","10","0","2000","","10",""
"Kernel Name","attentionSm90Kernel"
${COLUMNS}
"1","0x8000","      MUFU.EX2 R14, R14 ","0","0","12","0","0","0"
`

describe.skipIf(!built)('a profile of the kernels', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'repa-ncu-'))
    // Runs what it is to watch, and then reports what stands here.
    writeFileSync(
      join(folder, 'ncu'),
      `#!${process.execPath}
const { spawnSync } = require('node:child_process')
const { readFileSync, writeFileSync } = require('node:fs')
const words = process.argv.slice(2)
const after = (option) => words[words.indexOf(option) + 1]
if (words.includes('--export')) {
  const watched = spawnSync(process.execPath, words.slice(words.indexOf(process.execPath) + 1), { encoding: 'utf8' })
  if (process.env.REFUSE) { console.error('ERR_NVGPUCTRPERM'); process.exit(1) }
  writeFileSync(after('--export'), watched.stdout)
  process.exit(watched.status)
}
if (!readFileSync(after('--import'), 'utf8').includes('attention: backward, bias gradient')) process.exit(3)
process.stdout.write(after('--page') === 'raw' ? process.env.RAW : process.env.SOURCE)
`,
      { mode: 0o755 },
    )
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const profile = (env: Record<string, string>, ...words: string[]) =>
    spawnSync(process.execPath, [join(root, 'scripts/gpu-profile.mjs'), ...words], {
      encoding: 'utf8',
      env: { ...process.env, REPA_NCU: join(folder, 'ncu'), RAW, SOURCE, ...env },
    })

  test('says what each launch took and where it waited', () => {
    const { status, stdout, stderr } = profile({}, 'cuda:0', 'SiT-S/2', '1')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const launches = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const gemm = 'void gemmSm90Kernel<repa::cuda::bf16, 128, 128>(Sm90Group)'
    expect(launches).toEqual([
      {
        launch: 0,
        kernel: gemm,
        metrics: { 'gpu__time_duration.sum': 750100, 'dram__bytes_read.sum': 453e6 },
        instructions: 3,
        executed: 6000,
        samples: 2000,
        reasons: { wait: 1600, barrier: 400 },
        // The branch has less than a hundredth of the samples.
        hottest: [
          {
            index: 0,
            address: '0x7f00',
            source: 'HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24, gsb0',
            executed: 2000,
            samples: 1500,
            reasons: { wait: 1500 },
          },
          {
            index: 1,
            address: '0x7f10',
            source: 'WARPGROUP.DEPBAR.LE gsb0, 0x1',
            executed: 2000,
            samples: 490,
            reasons: { barrier: 400, wait: 90 },
          },
        ],
      },
      {
        launch: 1,
        kernel: 'attentionSm90Kernel',
        metrics: { 'gpu__time_duration.sum': 146000, 'dram__bytes_read.sum': 0 },
        instructions: 1,
        executed: 12,
        samples: 0,
        reasons: {},
        hottest: [],
      },
    ])
  })

  test('gives what it has and fails where the pages do not go together', () => {
    const { status, stdout, stderr } = profile({ SOURCE: '' }, 'cuda:0', 'SiT-S/2', '1')
    expect(status).toBe(1)
    expect(stderr).toMatch(/Nsight Compute's report has 2 launches and the source of 0; expected as many\./)
    expect(JSON.parse(stdout.split('\n')[1]!)).toMatchObject({ launch: 1, kernel: 'attentionSm90Kernel' })
  })

  test('says what Nsight Compute said where it fails', () => {
    const { status, stderr } = profile({ REFUSE: '1' }, 'cuda:0', 'SiT-S/2', '1')
    expect(status).toBe(1)
    expect(stderr).toMatch(/ERR_NVGPUCTRPERM\ngpu-profile: .*ncu .*--clock-control none.* failed\./)
  })

  test('wants a device, a model and a batch', () => {
    const { status, stderr } = profile({}, 'cuda:0')
    expect([status, stderr.trim()]).toEqual([2, 'usage: gpu-profile DEVICE MODEL BATCH'])
  })
})
