import { inferGrid } from './infer-grid.ts'
import { inferKind } from './infer-kind.ts'
import {
  assumedConvention,
  assumedHeads,
  inferTransformerConfig,
  type TransformerKnowledge,
} from './infer-transformer.ts'
import { scriptArguments } from './script-arguments.ts'
import { requireAsStated, requireTensorsOf } from './stated-model.ts'
import type { AnyTransformerConfig } from './transformer-kinds.ts'
import type { WeightsFile } from './weights-file.ts'

/**
 * The configuration of the model whose weights a file holds: as a file that was written here states it, else as `inferTransformerConfig` has
 * it, by its tensors, what is known besides, and the arguments of the script that trained it, where they stand in the file. Where the kind is
 * not known it is found out from the weights, and `onNotice` is told; so it is where heads or the direction of time are a guess.
 *
 * @param setting by which heads and the direction of time can be said. Default: each by one of its own name
 * @throws {RangeError} where something else is given than the file states
 * @throws {Error} where the tensors are no diffusion transformer's, or not those of the model that the file states
 */
export async function configOfWeights(
  file: WeightsFile,
  given: TransformerKnowledge,
  onNotice: ((sentence: string) => void) | undefined,
  setting?: 'model',
): Promise<AnyTransformerConfig> {
  const args = scriptArguments(file)
  if (args.stated) {
    requireAsStated(file.name, args.stated, given)
    requireTensorsOf(args.stated, file)
    return args.stated
  }
  const shapes = new Map(file.names.map((name) => [name, file.shapeOf(name)]))
  const evidence = { shapes, read: (name: string) => file.read(name), path: file.name }
  const grid = given.grid ?? (await inferGrid(evidence))
  const knowledge = { ...given, kind: given.kind ?? args.kind, heads: given.heads ?? args.heads, grid }
  const inferred = knowledge.kind === undefined ? await inferKind(evidence) : undefined
  if (inferred) onNotice?.(inferred.sentence)
  const config = inferTransformerConfig(shapes, file.name, { ...knowledge, kind: knowledge.kind ?? inferred?.kind })
  const guess = assumedHeads(shapes, file.name, config, knowledge, setting)
  if (guess !== undefined) onNotice?.(guess)
  const direction = assumedConvention(shapes, file.name, config, knowledge, setting)
  if (direction !== undefined) onNotice?.(direction)
  return config
}
