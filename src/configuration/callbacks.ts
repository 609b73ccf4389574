/** Schemas of what no JSON holds and calls of the library take: functions to call back, signals to stop by, what other calls give. */
import * as z from 'zod'

export const aFunction = () => z.custom((value) => typeof value === 'function', 'expected a function')

export const aSignal = () => z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal')

/** What an object is told by that may be of many classes: a method of it. */
export const anObjectWith = (key: string, what: string) =>
  z.custom((value) => typeof value === 'object' && value !== null && key in value, `expected ${what}`)
