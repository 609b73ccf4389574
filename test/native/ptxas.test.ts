import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const nvcc = process.env.CUDACXX || 'nvcc'
const isHere = spawnSync(nvcc, ['--version']).status === 0

/** Adds up `live` numbers after all of them have been read, in a kernel of 1024 threads, which leaves each thread 64 registers. */
const kernel = (live: number) => `
__global__ void __launch_bounds__(1024) sum(const float* x, float* out) {
  float values[${live}], sum = 0;
  #pragma unroll
  for (int i = 0; i < ${live}; ++i) values[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
  #pragma unroll
  for (int i = 0; i < ${live}; ++i) sum = sum * values[i] + values[${live - 1} - i];
  out[threadIdx.x] = sum;
}
`

// The build compiles every kernel with these options for every architecture: where it succeeds, none spills.
test('a kernel that spills its registers, and only that, fails the build', ({ skip }) => {
  if (!isHere) skip(`there is no ${nvcc} here`)
  const line = readFileSync(join(root, 'CMakeLists.txt'), 'utf8').match(
    /target_compile_options\(\$\{library\} PRIVATE (.*)\)/,
  )
  const options = line![1]!.split(' ')
  const folder = mkdtempSync(join(tmpdir(), 'repa-ptxas-'))
  const compile = (live: number) => {
    const source = join(folder, `${live}.cu`)
    writeFileSync(source, kernel(live))
    return spawnSync(nvcc, [...options, '-arch=sm_90a', '-cubin', '-o', join(folder, 'kernel'), source], {
      encoding: 'utf8',
    })
  }
  try {
    expect(compile(16)).toMatchObject({ status: 0, stderr: '' })
    const spilling = compile(200)
    expect(spilling.stderr).toMatch(/Registers are spilled to local memory/)
    expect(spilling.status).not.toBe(0)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** A product whose sums are touched while it runs, or only when it has been waited for. */
const product = (touched: boolean) => `
#include "cuda/kernel.h"
using namespace repa::cuda;
__global__ void multiply(float* out) {
  extern __shared__ unsigned char shared[];
  const MatrixDescriptor tile = matrixDescriptor(shared, 0, 1024, Swizzle::bytes128);
  float sums[32];
  wgmmaFence();
  wgmma<bf16, 64>(sums, tile, tile, false);
  wgmmaCommit();
  ${touched ? 'for (int i = 0; i < 32; ++i) sums[i] += 1.0f;' : ''}
  wgmma<bf16, 64>(sums, tile, tile);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(sums);
  for (int i = 0; i < 32; ++i) out[32 * threadIdx.x + i] = sums[i];
}
`

/** Whether a kernel's file or what it includes of this folder has setmaxnreg. */
function changesRegisters(folder: string, file: string): boolean {
  const text = readFileSync(join(folder, file), 'utf8')
  return (
    text.includes('increaseRegisters<') ||
    [...text.matchAll(/#include "cuda\/(\w+\.cuh)"/g)].some(([, included]) => changesRegisters(folder, included!))
  )
}

/** Where the build keeps what ptxas has said of Hopper's kernels (scripts/keep-ptxas-report.mjs). */
const reports = join(root, 'build/cmake/CMakeFiles/repa_cuda_sm90.dir/native/cuda')

/** What `-v` makes ptxas say of the kernels of a file. */
const readReport = (report: string) => ({
  waits: report.match(/\(C\d+\) .*(wgmma|warpgroup).*/g) ?? [],
  registers: [...report.matchAll(/Used (\d+) registers/g)].map(([, count]) => Number(count)),
  ignored: report.match(/.*setmaxnreg.*/g) ?? [],
})

// Where registers of a running wgmma are used, or given to another kind of instruction, ptxas makes it wait or one wait for the other, says
// so if asked and goes on: the sums are right and the tensor cores idle. And what one warpgroup gives to the others by setmaxnreg is there
// only if a kernel is launched with all registers that its 384 threads can have: with fewer the others would wait for ever.
test("ptxas waits for no wgmma of Hopper's kernels, and leaves setmaxnreg the registers that it counts on", ({
  skip,
}) => {
  if (!isHere) skip(`there is no ${nvcc} here`)
  if (!existsSync(reports)) skip('the addon was built without CUDA')
  const folder = mkdtempSync(join(tmpdir(), 'repa-wgmma-'))
  const kernels = join(root, 'native/cuda')
  const compile = (source: string) => {
    const options = ['-std=c++20', '-O3', '-arch=sm_90a', '-DREPA_CUDA', '-I', join(root, 'native'), '-Xptxas', '-v']
    return spawnSync(nvcc, [...options, '-cubin', '-o', join(folder, 'kernel'), source], { encoding: 'utf8' }).stderr
  }
  try {
    for (const touched of [false, true]) {
      const source = join(folder, 'product.cu')
      writeFileSync(source, product(touched))
      const { waits, registers } = readReport(compile(source))
      expect({ isWaited: waits.length > 0, kernels: registers.length }).toEqual({ isWaited: touched, kernels: 1 })
    }
    const most = Math.floor(65536 / 384 / 8) * 8
    for (const file of readdirSync(kernels).filter((name) => name.endsWith('_sm90.cu'))) {
      const { waits, registers, ignored } = readReport(readFileSync(join(reports, `${file}.o.ptxas`), 'utf8'))
      expect({ waits, ignored }, file).toEqual({ waits: [], ignored: [] })
      expect(registers.length, file).toBeGreaterThan(0)
      if (changesRegisters(kernels, file)) expect(new Set(registers), file).toEqual(new Set([most]))
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
