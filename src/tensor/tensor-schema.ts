import * as z from 'zod'
import { Tensor } from './tensor.ts'

/** The schema of a tensor on a device. `what` is what was expected, in a message. */
export const aTensor = (what = 'a Tensor') => z.custom((value) => value instanceof Tensor, `expected ${what}`)
