import type { TensorSource } from '../formats/tensor-source.ts'
import type { TensorSources } from './training-checkpoint.ts'

/**
 * Makes reading tensors fail with the signal's reason once that has aborted: whoever writes them then leaves nothing behind. One
 * source stays one source wherever it stands, so that writers still store it once.
 */
export function interruptible(signal: AbortSignal): (tensors: TensorSources) => TensorSources {
  const wrapped = new Map<TensorSource, TensorSource>()
  return (tensors) =>
    new Map(
      [...tensors].map(([name, source]) => {
        const known = wrapped.get(source) ?? stoppedBy(signal, source)
        wrapped.set(source, known)
        return [name, known]
      }),
    )
}

function stoppedBy(signal: AbortSignal, source: TensorSource): TensorSource {
  const { data, pieces } = source
  return {
    ...source,
    data: async () => {
      signal.throwIfAborted()
      return typeof data === 'function' ? data() : data
    },
    ...(pieces && {
      pieces: async function* () {
        for await (const piece of pieces()) {
          signal.throwIfAborted()
          yield piece
        }
      },
    }),
  }
}
