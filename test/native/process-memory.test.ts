import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { memoryStats } from '../../src/tensor/device.ts'

const compiler = process.env.CXX || 'c++'
const isHere = process.platform === 'linux' && spawnSync(compiler, ['--version']).status === 0

describe.skipIf(!isHere)('the memory of a process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'repa-process-memory-'))
  const program = join(folder, 'process-memory')
  beforeAll(() => {
    const native = join(import.meta.dirname, '../../native')
    const sources = [join(import.meta.dirname, 'process_memory.cpp'), join(native, 'core/process_memory.cpp')]
    expect(
      spawnSync(compiler, ['-std=c++20', '-I', native, '-o', program, ...sources], { encoding: 'utf8' }),
    ).toMatchObject({ status: 0, stderr: '' })
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const MIB = 2 ** 20
  const version1 = 'sys/fs/cgroup/memory'
  test.each<[string, number, Record<string, string>]>([
    ['no control groups', totalmem(), {}],
    ['groups without a limit', totalmem(), { 'proc/self/cgroup': '0::/a\n', 'sys/fs/cgroup/a/memory.max': 'max\n' }],
    [
      'a container of version 2',
      512 * MIB,
      { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/memory.max': `${512 * MIB}\n` },
    ],
    [
      'a container that knows its group by the name of outside',
      512 * MIB,
      { 'proc/self/cgroup': '0::/docker/0123\n', 'sys/fs/cgroup/memory.max': `${512 * MIB}\n` },
    ],
    [
      'a group in one that has less',
      256 * MIB,
      {
        'proc/self/cgroup': '0::/job/step/task\n',
        'sys/fs/cgroup/job/memory.max': `${256 * MIB}\n`,
        'sys/fs/cgroup/job/step/memory.max': `${300 * MIB}\n`,
        'sys/fs/cgroup/job/step/task/memory.max': 'max\n',
      },
    ],
    [
      'version 1',
      128 * MIB,
      {
        'proc/self/cgroup': '5:cpu,cpuacct:/b\n4:hugetlb,memory:/a/b\n0::/\n',
        [`${version1}/memory.limit_in_bytes`]: '9223372036854771712\n',
        [`${version1}/a/memory.limit_in_bytes`]: `${128 * MIB}\n`,
        [`${version1}/a/b/memory.limit_in_bytes`]: `${200 * MIB}\n`,
        [`${version1}/b/memory.limit_in_bytes`]: `${MIB}\n`,
      },
    ],
    [
      'lines of another kind',
      totalmem(),
      { 'proc/self/cgroup': 'nothing\n0::\n:\n\n', 'sys/fs/cgroup/memory.max': '1\n' },
    ],
  ])('with %s is %d bytes', (_, bytes, files) => {
    const root = mkdtempSync(join(folder, 'root-'))
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    const { status, stdout } = spawnSync(program, [root], { encoding: 'utf8' })
    expect({ status, bytes: Number(stdout) }).toEqual({ status: 0, bytes })
  })

  test('is the limit of the CPU, but for what the process held before', () => {
    const bytes = Number(spawnSync(program, [''], { encoding: 'utf8' }).stdout)
    const held = bytes - memoryStats('cpu').limitBytes
    expect(held).toBeGreaterThan(0)
    // What it holds now may be less than then.
    expect(held).toBeLessThan(2 * process.memoryUsage.rss())
  })
})
