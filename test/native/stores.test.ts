import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const native = join(import.meta.dirname, '../../native')
const nvcc = process.env.CUDACXX || 'nvcc'
const isHere = spawnSync(nvcc, ['--version']).status === 0

const CASES = [
  { elements: 1, type: 'float', bytes: 4 },
  { elements: 2, type: 'float', bytes: 8 },
  { elements: 4, type: 'float', bytes: 16 },
  { elements: 1, type: 'bf16', bytes: 2 },
  { elements: 2, type: 'bf16', bytes: 4 },
  { elements: 4, type: 'bf16', bytes: 8 },
  { elements: 8, type: 'bf16', bytes: 16 },
  { elements: 8, type: 'f16', bytes: 16 },
]

const source = `
#include "cuda/vector.h"
using namespace repa::cuda;
// As SwiGLU goes over its rows: some threads return before the loop.
template <int N, class T>
__device__ __forceinline__ void scaleRows(long rows, long width, const T* x, T* out) {
  const long column = (blockIdx.x * 128L + threadIdx.x) * N;
  if (column >= width) return;
  for (long row = blockIdx.y; row < rows; row += gridDim.y) {
    float values[N];
    load(values, x + row * width + column);
    for (int i = 0; i < N; ++i) values[i] *= 2.0f;
    store(out + row * width + column, values);
  }
}
${CASES.map(
  ({ elements, type }) =>
    `__global__ void ${type}_${elements}(long rows, long width, const ${type}* x, ${type}* out) { scaleRows<${elements}>(rows, width, x, out); }`,
).join('\n')}
`

// No emulation shows it: in such a loop nvcc 13.0 makes of a stored struct, float4 included, a store for each member.
test('nvcc makes one access of the elements that a kernel stores together', ({ skip }) => {
  if (!isHere) skip(`there is no ${nvcc} here`)
  const folder = mkdtempSync(join(tmpdir(), 'repa-stores-'))
  try {
    const [file, ptx] = [join(folder, 'stores.cu'), join(folder, 'stores.ptx')]
    writeFileSync(file, source)
    const options = ['-std=c++20', '-arch=compute_80', '-DREPA_CUDA', '-I', native, '-ptx', '-o', ptx]
    expect(spawnSync(nvcc, [...options, file], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
    const kernels = readFileSync(ptx, 'utf8').split('.visible .entry ').slice(1)
    for (const { elements, type, bytes } of CASES) {
      const kernel = kernels.find((text) => text.split('(', 1)[0]!.includes(`${type}_${elements}`))
      const stores = [...kernel!.matchAll(/\bst\.global(?:\.v(\d))?\.\w(\d+)/g)]
      const written = stores.map(([, count = 1, bits]) => (Number(count) * Number(bits)) / 8)
      expect(written, `${elements} of ${type}`).toEqual([bytes])
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
