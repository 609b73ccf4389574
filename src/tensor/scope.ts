import type { Tensor } from './tensor.ts'

interface Owner {
  readonly tensors: Set<Tensor>
  /** A tape's: scopes inside free nothing, for the backward pass may need it. */
  readonly holds: boolean
}

/** Who frees the tensors that are made now, if anyone. */
let current: Owner | undefined

/** Called by every new Tensor. */
export function adopt(tensor: Tensor): void {
  current?.tensors.add(tensor)
}

/** Takes a tensor out of the innermost scope: its owner frees it from now on. */
export function keep<T extends Tensor>(tensor: T): T {
  current?.tensors.delete(tensor)
  return tensor
}

/**
 * Frees a tensor before its scope ends. While a tape records, the backward pass may still need it: then it is only forgotten, where it
 * can be computed again.
 */
export function release(tensor: Tensor): void {
  if (current?.holds) tensor.forget()
  else keep(tensor).dispose()
}

/**
 * Runs synchronous code and frees every tensor made in it, except those it returns (a tensor, or an array or plain object of
 * them), which pass to the scope around. Work already enqueued is not disturbed: memory is stream-ordered. While a tape
 * records, everything passes to the tape.
 */
export function scope<R>(body: () => R): R {
  if (current?.holds) return body()
  const { result, made } = collect(body, false)
  for (const tensor of tensorsIn(result)) {
    if (made.delete(tensor)) adopt(tensor)
  }
  for (const tensor of made) tensor.dispose()
  return result
}

/** Runs synchronous code and hands over every tensor made in it, the returned ones included. Frees them if it throws. */
export function collect<R>(body: () => R, holds: boolean): { result: R; made: Set<Tensor> } {
  const outer = current
  const own: Owner = { tensors: new Set(), holds }
  current = own
  try {
    const result = body()
    if (result instanceof Promise) {
      // What it rejects with is nobody's: the caller is told here.
      result.catch(() => {})
      throw new TypeError('A scope takes synchronous code only; await outside of it.')
    }
    return { result, made: own.tensors }
  } catch (error) {
    for (const tensor of own.tensors) tensor.dispose()
    throw error
  } finally {
    current = outer
  }
}

/** The tensors in a value: itself, or those in an array or plain object, at any depth. */
export function tensorsIn(value: unknown): Tensor[] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return []
  if ('handle' in value && 'device' in value) return [value as Tensor]
  if (!(Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype)) return []
  return Object.values(value).flatMap(tensorsIn)
}
