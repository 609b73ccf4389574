/**
 * An argument as it is when a call is made. What a job reads later, once it has been loaded, or when a step or a batch is made, the caller may
 * have changed for the next call. Copied are an object of options and what is plain data: arrays, and objects of nothing else. All else, models,
 * data sets, functions and typed arrays, is the caller's own.
 */
export function asCalled<Argument>(argument: Argument): Argument {
  if (isData(argument)) return structuredClone(argument)
  if (!isPlain(argument)) return argument
  const entries = Object.entries(argument).map(([name, value]) => [
    name,
    isData(value) ? structuredClone(value) : value,
  ])
  return Object.fromEntries(entries) as Argument
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function isData(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isData)
  if (isPlain(value)) return Object.values(value).every(isData)
  return ['string', 'number', 'bigint', 'boolean', 'undefined'].includes(typeof value) || value === null
}
