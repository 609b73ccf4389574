// Launches the products and the attention of a training step once each, for Nsight Compute to watch (gpu-profile.mjs).
// Usage: gpu-profile-launches.mjs DEVICE MODEL BATCH

import { gpuKernelCases, Operands } from '../dist/benchmark/gpu-kernel-cases.js'
import { gpuKernelSizes } from '../dist/benchmark/gpu-kernels.js'
import { synchronize } from '../dist/tensor/device.js'

const [device, model, batch] = process.argv.slice(2)
const cases = gpuKernelCases(gpuKernelSizes(model, Number(batch)), 'bf16')
for (const { family, name, prepare } of cases.filter(({ family }) => family === 'GEMM' || family === 'attention')) {
  const operands = new Operands(device)
  try {
    prepare(operands)()
    await synchronize(device)
    console.log(`${family}: ${name}`)
  } finally {
    operands[Symbol.dispose]()
  }
}
