import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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
