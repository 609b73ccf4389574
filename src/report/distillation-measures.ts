import type { Chart } from './chart.ts'
import type { MetricName } from './metrics-table.ts'

/** What a pretraining by DINO logs beside its loss, which falls in a collapse too (pretraining/dino.ts). */
export const DISTILLATION_MEASURES: readonly (Pick<Chart, 'title' | 'description' | 'yLabel'> & {
  readonly metric: MetricName
})[] = [
  {
    metric: 'view_information',
    title: 'View information',
    description:
      'What the student knows of the teacher’s answer by having seen another view, at least. It rises while something is learnt.',
    yLabel: 'Nats',
  },
  {
    metric: 'teacher_entropy',
    title: 'Teacher’s entropy',
    description: 'Of its answer to one view: log K, of K prototypes, where it says nothing of any image.',
    yLabel: 'Nats',
  },
  {
    metric: 'teacher_kl_uniform',
    title: 'Teacher’s preferences',
    description: 'Divergence of its mean answer from an even one: log K where it says the same of every image.',
    yLabel: 'Nats',
  },
]
