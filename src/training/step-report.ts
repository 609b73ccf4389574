import type { StepState } from './optimizer.ts'
import type { StepLosses } from './passes.ts'
import type { TrainingStep } from './trainer-options.ts'

/** Weights of what is added to the objective in a step; undefined where it is not. */
export interface LossWeights {
  readonly align: number | undefined
  readonly attention: number | undefined
  readonly selfAlign: number | undefined
  readonly dispersive: number | undefined
  readonly contrastive: number | undefined
  readonly velocityCosine: number | undefined
  readonly classToken: number | undefined
}

/** `StepLosses` as numbers. */
export type LossNumbers = Pick<TrainingStep, keyof StepLosses>

/** What a step's numbers say once they have come from the device. */
export function stepReport(
  losses: LossNumbers,
  weights: LossWeights,
  state: StepState,
): Omit<TrainingStep, 'index' | 'epoch' | 'learningRate' | 'imagesPerSecond' | 'seconds'> {
  const {
    denoising,
    vb = 0,
    velocityCosine = 0,
    alignment = 0,
    attentionAlignment = 0,
    selfAlignment = 0,
    dispersive = 0,
    contrastive = 0,
    classToken = 0,
  } = losses
  return {
    ...losses,
    loss:
      denoising +
      vb +
      (weights.velocityCosine ?? 0) * velocityCosine +
      (weights.align ?? 0) * alignment +
      (weights.attention ?? 0) * attentionAlignment +
      (weights.selfAlign ?? 0) * selfAlignment +
      (weights.dispersive ?? 0) * dispersive -
      (weights.contrastive ?? 0) * contrastive +
      (weights.classToken ?? 0) * classToken,
    alignWeight: weights.align,
    selfAlignWeight: weights.selfAlign,
    gradNorm: state.gradNorm,
    finite: state.finite,
    skipped: state.skipped,
    lossScale: state.lossScaling?.scale,
  }
}
