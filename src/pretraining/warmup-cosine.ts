import { learningRateAt } from '../training/learning-rate.ts'
import type { StepNumber } from './method.ts'

/**
 * The learning rate of a step: linear from 0 up to `peak` over the first `warmup` of all steps, then half a cosine down to `floor`
 * (MAE's lr_sched.py and DINO's cosine_scheduler; the first step is already one step up).
 */
export function warmupCosine(
  { step, total }: StepNumber,
  { peak, floor = 0, warmup }: { peak: number; floor?: number; warmup: number },
): number {
  return learningRateAt(step, peak, {
    warmup: Math.round(warmup * total),
    decay: 'cosine',
    until: total,
    final: floor,
  })
}
