import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readTraffic, trafficByKernel, trafficByLine } from '../../scripts/traffic-report.mjs'

const root = join(import.meta.dirname, '../..')
const addon = join(root, 'build/simt-traffic')
const scratch = mkdtempSync(join(tmpdir(), 'repa-traffic-'))

afterAll(() => rmSync(scratch, { recursive: true, force: true }))

function run(program: string, words: readonly string[], env: Readonly<Record<string, string>>): string {
  const { status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8', env: { ...process.env, ...env } })
  expect(status, stdout + stderr).toBe(0)
  return stdout
}

test('requests of known cost are counted as a chip serves them', () => {
  // Where it was compiled: a compiler's cache may make the paths of its sources relative to that.
  const text = run(join(root, 'build/cmake/native/simt/simt_traffic_test'), [], {})
  expect(Number(/^(\d+) passed, 0 failed/m.exec(text)?.[1]), text).toBeGreaterThanOrEqual(20)
})

/** So much more than the same bytes would take side by side, where nothing below says otherwise. */
const MOST = 1.05

/** Rows of 72 columns in 16 bits begin in the middle of a sector, and fragments end there. */
const ROWS_OF_72 = 1.15
/** By kernel and space. Each is what was counted, rounded up. */
const MORE: Readonly<Record<string, number>> = {
  'attention_forward.cu: attentionResidentKernel global': ROWS_OF_72,
  'attention_forward.cu: attentionStreamedKernel global': ROWS_OF_72,
  'attention_backward_streamed.cu: attentionBackwardQueriesKernel global': ROWS_OF_72,
  'attention_backward_streamed.cu: attentionBackwardKeysKernel global': ROWS_OF_72,
  'attention_alignment_mma.cu: alignQueriesKernel global': ROWS_OF_72,
  'attention_alignment_mma.cu: alignKeysKernel global': ROWS_OF_72,
  // A lane takes 32 bytes in two accesses, of which the cache answers the second: the weight once a block, a target in f32.
  'patch_embed.cu: patchEmbedKernel global': 1.7,
  'patch_embed_backward.cu: patchEmbedBackwardKernel global': 1.25,
  'loss.cu: cosineAlignmentKernel global': 1.35,
  // So it is with outputs in f32 on 8.0; Hopper's kernels send tiles.
  'gemm_mma.cu: gemmMmaKernel global': 1.25,
  // Rows of a tile of 16 columns are 17 banks apart, for its columns' sake: two of them meet in one.
  'patch.cu: imageToPatchesKernel shared': 1.6,
  'patch.cu: patchesToImageKernel shared': 1.5,
  // Orders change between the two sides: pixels of channels, sums of slices, a table of a few rows.
  'pixels.cu: toUint8Kernel global': 1.5,
  'contrast.cu: addDistanceSlicesKernel global': 2.8,
  'resize.cu: resizeTablesKernel global': 4.3,
  'group_norm.cu: coefficientsKernel global': 1.5,
  'group_norm.cu: coefficientsKernel shared': 1.35,
}

describe.each(['90', '80'])('the kernels of models, on a chip of compute capability %s', (architecture) => {
  test('ask of memory hardly more than the bytes that they want', () => {
    const file = join(scratch, architecture)
    run(process.execPath, [join(root, 'test/native/programs/model-kernels.mjs')], {
      REPA_NATIVE_PREBUILD: addon,
      REPA_SIMT_TRAFFIC: file,
      REPA_SIMT_ARCH: architecture,
    })
    const instructions = readTraffic(readFileSync(file, 'utf8'))
    const sums = trafficByKernel(instructions)
    const kernels = new Set(sums.map(({ kernel }) => kernel))
    expect(kernels.size).toBeGreaterThan(50)
    const beyond = sums.filter(
      ({ kernel, space, units, least }) => units > least * (MORE[`${kernel} ${space}`] ?? MOST),
    )
    expect(beyond).toEqual([])
    // Every line of a kernel is found, the wasteful ones first.
    const lines = trafficByLine(instructions, join(addon, 'build/Release/repa_native.node'))
    expect(lines.map(({ line }) => line).filter((line) => !/^\w+\.(cuh?|h):\d+/.test(line))).toEqual([])
  }, 300_000)
})
