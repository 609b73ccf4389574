import type { Chart } from './chart.ts'
import type { MetricName, RunPoints } from './metrics-table.ts'

/** What the training loss is a sum of. */
export interface LossPart extends Pick<Chart, 'title' | 'description' | 'yLabel'> {
  readonly metric: MetricName
  /** Of the headline number. */
  readonly label: string
  /** In the sum. */
  readonly name: string
  /** From the sum. */
  readonly isSubtracted?: true
}

const LOSS_PARTS: readonly LossPart[] = [
  {
    metric: 'denoising',
    label: 'Denoising',
    name: 'denoising',
    title: 'Denoising loss',
    description: 'Mean squared error of the prediction.',
    yLabel: 'Loss',
  },
  {
    metric: 'vb',
    label: 'Variational bound',
    name: 'variational bound',
    title: 'Variational bound',
    description: 'By which the variance is learned, in bits a dimension.',
    yLabel: 'Bits a dimension',
  },
  {
    metric: 'velocityCosine',
    label: 'Cosine loss',
    name: 'weighted cosine loss',
    title: 'Cosine loss of the velocity',
    description: 'One less the cosine between each pixel’s velocity and its prediction.',
    yLabel: 'Loss',
  },
  {
    metric: 'alignment',
    label: 'Alignment',
    name: 'weighted alignment',
    title: 'Alignment loss',
    description: 'From the encoder’s features: mean negative cosine similarity, or NT-Xent where that was chosen.',
    yLabel: 'Loss',
  },
  {
    metric: 'attentionAlignment',
    label: 'Attention',
    name: 'weighted attention loss',
    title: 'Attention loss',
    description: 'Cross-entropy of the blocks’ attention with the encoder’s.',
    yLabel: 'Loss',
  },
  {
    metric: 'selfAlignment',
    label: 'Self-alignment',
    name: 'weighted self-alignment',
    title: 'Self-alignment loss',
    description: 'Mean smooth L1 distance from the averaged model’s features.',
    yLabel: 'Loss',
  },
  {
    metric: 'dispersive',
    label: 'Dispersive loss',
    name: 'weighted dispersive loss',
    title: 'Dispersive loss',
    description: 'Logarithm of how alike a batch’s features are.',
    yLabel: 'Loss',
  },
  {
    metric: 'contrastive',
    label: 'Contrast',
    name: 'weighted contrast',
    isSubtracted: true,
    title: 'Contrast',
    description: 'Mean squared distance from what another sample’s velocity aims at.',
    yLabel: 'Mean squared distance',
  },
  {
    metric: 'classToken',
    label: 'Class token',
    name: 'weighted class token loss',
    title: 'Class token loss',
    description: 'Mean squared error of the class token’s velocity.',
    yLabel: 'Loss',
  },
]

/** The parts that some run has logged. */
export function lossPartsOf(points: readonly RunPoints[]): readonly LossPart[] {
  return LOSS_PARTS.filter(({ metric }) => points.some((own) => own[metric].x.length > 0))
}
