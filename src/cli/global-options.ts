import type { OptionTable } from './option.ts'

/** The flags that every command takes. */
export const GLOBAL_OPTIONS = {
  device: {
    type: 'string',
    placeholder: 'auto|cpu|cuda|cuda:N',
    pattern: /^(auto|cpu|cuda(:\d{1,4})?)$/,
    expected: 'auto, cpu, cuda or cuda:N',
    default: 'auto',
    description: 'where to compute; auto takes a GPU where there is one',
  },
  seed: {
    type: 'integer',
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    description: 'seed of every random draw [0]',
  },
  json: {
    type: 'boolean',
    default: false,
    description: 'print machine-readable JSON on stdout, and nothing else there',
  },
  quiet: { type: 'boolean', default: false, description: 'print nothing but warnings and errors' },
  help: { type: 'boolean', default: false, description: 'print this help' },
} as const satisfies OptionTable
