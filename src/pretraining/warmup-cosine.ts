import type { StepNumber } from './method.ts'

/**
 * The learning rate of a step: linear from 0 up to `peak` over the first `warmup` of all steps, then half a cosine down to `floor`
 * (MAE's lr_sched.py and DINO's cosine_scheduler; the first step is already one step up).
 */
export function warmupCosine(
  { step, total }: StepNumber,
  { peak, floor = 0, warmup }: { peak: number; floor?: number; warmup: number },
): number {
  const rising = Math.round(warmup * total)
  if (step < rising) return (peak * (step + 1)) / rising
  const done = (step - rising) / Math.max(1, total - rising)
  return floor + ((peak - floor) * (1 + Math.cos(Math.PI * done))) / 2
}
