import { MaskedAutoencoding } from './mae.ts'
import type { MethodName, MethodOptions, PretrainingMethod } from './method.ts'

/** A method with its model's first values. */
export function createMethod(name: MethodName, options: MethodOptions): PretrainingMethod {
  switch (name) {
    case 'mae':
      return new MaskedAutoencoding(options)
    default:
      return name satisfies never
  }
}
