import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseGpuClocks, readGpuClocks } from '../../src/benchmark/gpu-clocks.ts'
import { gpuByCudaName, peakFlops } from '../../src/benchmark/gpus.ts'

const line = '580.65.06, 1980, 1980, 3201, 131.27, 700.00, 41'
const clocks = {
  driver: '580.65.06',
  sm: 1980,
  smMaximum: 1980,
  memory: 3201,
  power: 131.27,
  powerLimit: 700,
  temperature: 41,
}

test.each([
  [`${line}\n`, clocks],
  [line.replace('131.27', '[N/A]'), { ...clocks, power: Number.NaN }],
  ['No devices were found', undefined],
  ['', undefined],
])('%j', (text, expected) => expect(parseGpuClocks(text)).toEqual(expected))

test.each([
  [{}, '1'],
  [{ CUDA_VISIBLE_DEVICES: '5,3' }, '3'],
  [{ CUDA_VISIBLE_DEVICES: 'GPU-aa, GPU-bb' }, 'GPU-bb'],
  [{ CUDA_VISIBLE_DEVICES: '7' }, '1'],
])('asks nvidia-smi for the GPU that CUDA calls cuda:1: %o', async (env, id) => {
  const folder = mkdtempSync(join(tmpdir(), 'repa-smi-'))
  try {
    // Answers only where it is asked for that GPU.
    const script = `#!/bin/sh\nfor last; do :; done\n[ "$last" = "--id=${id}" ] && echo "${line}"\n`
    writeFileSync(join(folder, 'nvidia-smi'), script)
    chmodSync(join(folder, 'nvidia-smi'), 0o755)
    expect(await readGpuClocks('cuda:1', { PATH: `${folder}:/usr/bin:/bin`, ...env })).toEqual(clocks)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('is undefined where there is no nvidia-smi', async () => {
  expect(await readGpuClocks('cuda:0', { PATH: '/nowhere' })).toBeUndefined()
})

test.each([
  ['NVIDIA H200', 989.4e12],
  ['NVIDIA H100 80GB HBM3', 989.4e12],
  ['NVIDIA H100 PCIe', 756e12],
  ['NVIDIA A100-SXM4-80GB', 312e12],
  ['NVIDIA A10', 125e12],
  ['NVIDIA A10G', undefined],
  ['NVIDIA RTX A6000', 154.8e12],
  ['NVIDIA GeForce RTX 5090', 209.5e12],
  ['SIMT shim', undefined],
])('the data sheet of %s', (name, rate) => {
  const gpu = gpuByCudaName(name)
  expect(gpu?.tensorFlops).toBe(rate)
  expect(gpu && peakFlops(gpu, 'tf32')).toBe(rate && rate / 2)
})
