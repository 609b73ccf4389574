import { native } from '../native.ts'
import { synchronize } from '../tensor/device.ts'
import { linear } from '../tensor/ops/linear.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

export interface GemmRate {
  /** FLOP per second of the MLP's first product of SiT-S at batch 4. */
  readonly gemm: number
  /** Multiply-adds per second that the machine gave at the same time, in FLOP. */
  readonly fmaPeak: number
}

const ROWS = 1024
const [INPUT, OUTPUT] = [384, 1536]
const PRODUCTS = 8
const ROUNDS = 5
const PEAK_SECONDS = 0.02

/** Measures both in turn, so that they see the same machine; below half a second where it is idle. The best of the rounds. */
export async function measureGemmRate(): Promise<GemmRate> {
  using x = Tensor.full([ROWS, INPUT], 0.5, 'cpu')
  using weight = Tensor.full([OUTPUT, INPUT], 0.25, 'cpu')
  const seconds: number[] = []
  const peaks: number[] = []
  for (let round = -1; round < ROUNDS; round++) {
    await synchronize('cpu')
    const began = performance.now()
    for (let i = 0; i < PRODUCTS; i++) scope(() => void linear(x, { weight, bias: undefined }))
    await synchronize('cpu')
    // The first round warms up: caches, packed weights, memory.
    if (round >= 0) seconds.push((performance.now() - began) / 1000)
    peaks.push(await native().measureFmaPeak(PEAK_SECONDS))
  }
  return { gemm: (PRODUCTS * 2 * ROWS * INPUT * OUTPUT) / Math.min(...seconds), fmaPeak: Math.max(...peaks) }
}
