import { FileFormatError } from '../formats/errors.ts'
import type { TorchCheckpoint, TorchValue } from '../formats/torch-checkpoint.ts'
import { TorchTensor } from '../formats/torch-tensor.ts'

/** Dictionaries are searched so deep: `{"state": {"model": …}}` is as deep as known files go. */
const SEARCH_DEPTH = 3

/**
 * The one state dict in a torch file, be it the file itself or nested (MAE's "model", MoCo's "state_dict"); `key` names it
 * where there are several, as `ema` or, deeper, `state/model`.
 *
 * @throws {FileFormatError} where there is none, or several and no key: it lists them
 */
export function chooseStateDict(file: TorchCheckpoint, key: string | undefined): ReadonlyMap<string, TorchTensor> {
  if (key !== undefined) {
    const whole = file.value instanceof Map && file.value.has(key)
    return file.stateDict(whole ? [key] : key.split('/'))
  }
  const places = stateDictsIn(file.value)
  if (places.length === 0) return file.stateDict()
  if (places.length === 1) return file.stateDict(places[0]!)
  const listed = places.map((place) => place.join('/')).join(', ')
  throw new FileFormatError(
    file.path,
    `it holds ${places.length} state dicts: ${listed}; choose one by \`key\` ${places[0]!.join('/')}.`,
  )
}

function stateDictsIn(value: TorchValue, place: readonly string[] = []): (readonly string[])[] {
  if (!(value instanceof Map) || value.size === 0) return []
  const keys = [...value.keys()]
  // An optimizer's state is keyed by numbers: {0: {exp_avg, …}}.
  if (!keys.every((key) => typeof key === 'string')) return []
  if ([...value.values()].every((item) => item instanceof TorchTensor)) return [place]
  if (place.length >= SEARCH_DEPTH) return []
  return keys.flatMap((key) => stateDictsIn(value.get(key)!, [...place, key]))
}
