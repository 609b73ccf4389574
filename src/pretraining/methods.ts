import { SelfDistillation } from './dino.ts'
import { MaskedAutoencoding } from './mae.ts'
import type { MethodName, MethodOptions, PretrainingMethod } from './method.ts'

/** A method with its model's first values. */
export function createMethod(name: MethodName, options: MethodOptions): PretrainingMethod {
  switch (name) {
    case 'mae':
      return new MaskedAutoencoding(options)
    case 'dino':
      return new SelfDistillation(options)
    default:
      return name satisfies never
  }
}
