/** What the kernels make of chips that are none of Hopper's: of their shared memory, and of being too old. */
import { expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'
import { attentionKernels, kernelsOf } from './kernels-that-ran.ts'

const STREAMED = ['attentionBackwardQueriesKernel', 'attentionBackwardKeysKernel']

test.each([
  // 99 KB a block: a head of 257 tokens and 80 columns does not fit.
  ['86', 257, 72, 'attentionResidentKernel', STREAMED],
  ['86', 257, 80, 'attentionStreamedKernel', STREAMED],
  ['120', 256, 64, 'attentionResidentKernel', STREAMED],
  // 163 KB: that fits, and what the backward pass keeps of a head does not.
  ['80', 257, 80, 'attentionResidentKernel', STREAMED],
  // 227 KB, without Hopper's kernels and with them.
  ['100', 256, 72, 'attentionResidentKernel', ['attentionBackwardResidentKernel']],
  ['90', 256, 64, 'attentionSm90Kernel', ['attentionBackwardSm90Kernel']],
] as const)(
  'on %s attention of %i tokens of %i columns runs in %s, its gradient in %j',
  (capability, tokens, headDim, forward, backward) => {
    expect(attentionKernels([`${tokens}`, `${headDim}`], capability)).toEqual([forward, ...backward].sort())
  },
)

const HOPPER_RESIDENT = ['attentionBackwardSm90Kernel', 'attentionSm90Kernel']
const HOPPER_STREAMED = [
  'attentionBackwardKeysSm90Kernel',
  'attentionBackwardQueriesSm90Kernel',
  'attentionStreamedSm90Kernel',
]

test.each([
  ['mma', 256, 64, ['attentionBackwardResidentKernel', 'attentionResidentKernel']],
  ['wgmma', 256, 72, HOPPER_RESIDENT],
  ['wgmma', 257, 72, HOPPER_STREAMED],
  ['wgmma', 333, 32, HOPPER_STREAMED],
  // There is none of Hopper's own for such heads.
  ['wgmma', 300, 80, ['attentionStreamedKernel', ...STREAMED].sort()],
  ['wgmma-streamed', 256, 64, HOPPER_STREAMED],
  ['mma-streamed', 256, 64, ['attentionStreamedKernel', ...STREAMED].sort()],
] as const)(
  'REPA_ATTENTION=%s has attention of %i tokens of %i columns run in %j',
  (asked, tokens, headDim, kernels) => {
    expect(attentionKernels([`${tokens}`, `${headDim}`], '90', { REPA_ATTENTION: asked })).toEqual(kernels)
  },
)

test('of a chip of 99 KB every kernel fits into the shared memory, but for the one that others stand in for', () => {
  const { has, ran } = kernelsOf('every-kernel', [], '86')
  const files = [...has].filter((kernel) => !ran.has(kernel)).map((kernel) => kernel.replace(/:.*/, ''))
  expect(new Set(files.filter((file) => !file.endsWith('_sm90.cu')))).toEqual(
    new Set(['attention_backward_resident.cu']),
  )
})

test.each([
  [
    '75',
    /there is no cuda:0 here: no GPU here is recent enough: the kernels need compute capability 8\.0 \(Ampere\) or later, SIMT shim \(CPU\) has 7\.5\./,
  ],
  ['91', /there is no cuda:0 here: .*REPA_SIMT_ARCH is "91"; expected 75, 80, 86, .*, or leave it unset\./],
])('on %s there is no device, and a sentence says why', (capability, sentence) => {
  const { status, stderr } = runProgram('attention-of-size', { args: ['1', '8'], env: { REPA_SIMT_ARCH: capability } })
  expect(status).not.toBe(0)
  expect(stderr).toMatch(sentence)
})

test.each([
  ['REPA_ATTENTION', 'wgmma', 'attention', 'attention-of-size', ['16', '64']],
  ['REPA_ATTENTION', 'wgmma-streamed', 'attention', 'attention-of-size', ['16', '64']],
  ['REPA_GEMM', 'wgmma', 'linearWeightGradient', 'products', []],
  ['REPA_GEMM', 'wgmma-128x192', 'linearWeightGradient', 'products', []],
])("%s=%s, which asks for Hopper's kernels, is refused on another chip", (name, value, op, program, args) => {
  const { status, stderr } = runProgram(program, { args, env: { REPA_SIMT_ARCH: '86', [name]: value } })
  expect(status).not.toBe(0)
  expect(stderr).toContain(
    `${op}: ${name}=${value} asks for kernels of compute capability 9.0, and SIMT shim (CPU) has 8.6; leave it unset.`,
  )
})
