import { expect, test } from 'vitest'
import { advise, type Surroundings } from '../../src/doctor/advice.ts'
import type { CpuReport } from '../../src/doctor/diagnose.ts'

const cpu: CpuReport = {
  model: 'CPU',
  level: 'avx512',
  levels: ['portable', 'avx2', 'avx512'],
  threads: 4,
  memoryLimitBytes: 2 ** 36,
}
const quiet: Surroundings = {
  arch: 'x64',
  env: {},
  cores: 4,
  cpuQuota: undefined,
  load: 0.3,
  hugePages: 'madvise',
  nvidiaDriver: undefined,
}

const noCuda = { state: 'not-built', reason: 'this build has no CUDA kernels' } as const

test('has nothing to say where all is well', () => {
  expect(advise(cpu, quiet, noCuda)).toEqual([])
})

test.each<[string, Partial<CpuReport>, Partial<Surroundings>, string]>([
  ['a level held down', { level: 'avx2' }, {}, 'REPA_CPU_LEVEL holds the kernels at avx2; unset it for avx512'],
  ['an old CPU', { level: 'portable', levels: ['portable'] }, {}, 'has no AVX2'],
  ['idle cores', { threads: 2 }, { env: { REPA_THREADS: '2' } }, 'REPA_THREADS is 2, and 4 cores may be used'],
  ['too many threads', { threads: 8 }, {}, '8 threads compete where the cores are 4: set REPA_THREADS=4.'],
  ['a quota', {}, { cpuQuota: 1.5 }, "4 threads compete where the container's CPU quota is 1.5: set REPA_THREADS=1."],
  ['a busy machine', {}, { load: 3.1 }, 'load 3.1 on 4 cores'],
  ['no huge pages', {}, { hugePages: 'never' }, 'transparent_hugepage'],
  ['little memory', { memoryLimitBytes: 2 ** 31 }, {}, 'Only 2.0 GiB of memory'],
  ['a GPU', {}, { nvidiaDriver: '550.54' }, 'an NVIDIA driver (550.54), but this build has no CUDA kernels'],
])('%s', (_, report, around, sentence) => {
  const advice = advise({ ...cpu, ...report }, { ...quiet, ...around }, noCuda)
  expect(advice).toHaveLength(1)
  expect(advice[0]).toContain(sentence)
})

test('portable kernels are all that ARM has', () => {
  expect(advise({ ...cpu, level: 'portable', levels: ['portable'] }, { ...quiet, arch: 'arm64' }, noCuda)).toEqual([])
})
