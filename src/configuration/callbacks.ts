/** Schemas of what no JSON holds and calls of the library take: functions to call back, and signals to stop by. */
import * as z from 'zod'

export const aFunction = () => z.custom((value) => typeof value === 'function', 'expected a function')

export const aSignal = () => z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal')
