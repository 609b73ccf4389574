import { endingIn } from './option.ts'

/** Options of the commands that judge the samples S of a model. */
export const SAMPLES_RECORD_OPTIONS = {
  out: {
    type: 'string',
    placeholder: 'FILE.json',
    ...endingIn('.json'),
    description: 'write the numbers here too; in RUN/evaluation/ repa report shows them',
  },
  step: {
    type: 'integer',
    min: 0,
    description: 'steps that the model of S was trained for, for --out [what repa sample noted beside S]',
  },
} as const
