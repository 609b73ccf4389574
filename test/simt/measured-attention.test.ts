/** Attention by the kernel that a measurement chooses: REPA_ATTENTION=auto. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'
import { attentionKernels } from './kernels-that-ran.ts'

const folder = mkdtempSync(join(tmpdir(), 'repa-attention-'))
const choices = join(folder, 'choices.txt')
const env = { REPA_ATTENTION: 'auto', REPA_KERNEL_CHOICES: choices }
beforeEach(() => rmSync(choices, { force: true }))
afterAll(() => rmSync(folder, { recursive: true }))

const lines = () => readFileSync(choices, 'utf8').trimEnd().split('\n')
const rewrite = (choice: string) =>
  writeFileSync(
    choices,
    lines()
      .map((line) => line.replace(/ = .*/, ` = ${choice}\n`))
      .join(''),
  )

test('is measured once for each shape: later runs make the same choices and the same bits', () => {
  const run = () => runProgram('attention', { env })
  const first = run()
  expect(first.stdout, first.stderr).toMatch(/^[0-9a-f]{64}\n$/)
  const kept = lines()
  const keys = kept.map((line) => /^\S.* 9\.0 x2; (.*) = (mma|wgmma)(-streamed)?$/.exec(line)?.[1])
  expect(keys).toEqual(
    ['1x130x3x72 aligned', '1x67x1x96 aligned', '1x19x2x5'].flatMap((shape) =>
      ['bf16', 'f16'].flatMap((dtype) => [`attention ${dtype} ${shape}`, `attention's gradient ${dtype} ${shape}`]),
    ),
  )
  expect(run().stdout).toBe(first.stdout)
  expect(lines()).toEqual(kept)
})

const BY_NAME = {
  wgmma: ['attentionBackwardSm90Kernel', 'attentionSm90Kernel'],
  'wgmma-streamed': [
    'attentionBackwardKeysSm90Kernel',
    'attentionBackwardQueriesSm90Kernel',
    'attentionStreamedSm90Kernel',
  ],
  mma: ['attentionBackwardResidentKernel', 'attentionResidentKernel'],
  'mma-streamed': ['attentionBackwardKeysKernel', 'attentionBackwardQueriesKernel', 'attentionStreamedKernel'],
}

test('tries each kernel that the chip runs for such heads, and then runs the one that the file names', () => {
  const kernels = (headDim: number, capability: string) => attentionKernels(['130', `${headDim}`], capability, env)
  // A gradient of 80 columns is only streamed.
  expect(kernels(80, '90')).toEqual(['attentionResidentKernel', ...BY_NAME['mma-streamed']].sort())
  expect(kernels(64, '100')).toEqual([...BY_NAME.mma, ...BY_NAME['mma-streamed']].sort())
  rmSync(choices)
  expect(kernels(64, '90')).toEqual(Object.values(BY_NAME).flat().sort())
  for (const [name, ran] of Object.entries(BY_NAME)) {
    rewrite(name)
    expect(kernels(64, '90')).toEqual(ran)
  }
})

test.each(['flash', 'wgmma'])('a choice that there is not, %s, is an error that says what to do', (choice) => {
  const run = () => runProgram('attention-of-size', { args: ['130', '80'], env })
  expect(run().status).toBe(0)
  rewrite(choice)
  expect(run().stderr).toContain(
    `attention: ${choices} holds the choice "${choice}", which is none of attention's kernels for this GPU and these sizes; delete the file to measure anew.`,
  )
})
