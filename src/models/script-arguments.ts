import * as z from 'zod'
import type { InterpolantPath } from '../native.ts'
import { kindOfName, type TransformerKind } from './transformer-kinds.ts'
import type { WeightsFile } from './weights-file.ts'

/** What of a training script's arguments is looked at; a value of another type is another script's, and says nothing here. */
const argumentsSchema = z.object({
  model: z.string().optional().catch(undefined),
  num_heads: z.int().positive().optional().catch(undefined),
  path_type: z.string().optional().catch(undefined),
})

/** The interpolants by REPA's names, and by those of the original SiT. */
export const SCRIPT_PATHS: Readonly<Record<string, InterpolantPath>> = {
  linear: 'linear',
  cosine: 'cosine',
  Linear: 'linear',
  GVP: 'cosine',
}

/** What a torch checkpoint's `args`, the arguments of the script that trained it, say of a model and its tensors do not show. */
export interface ScriptArguments {
  readonly kind: TransformerKind | undefined
  readonly heads: number | undefined
  readonly path: InterpolantPath | undefined
}

/** The arguments beside a file's weights. `notice` is told of a path that samplers here do not have. */
export function scriptArguments({ name, args }: WeightsFile, notice?: (sentence: string) => void): ScriptArguments {
  const { model, num_heads: heads, path_type: path } = argumentsSchema.parse(args)
  if (path !== undefined && !Object.hasOwn(SCRIPT_PATHS, path)) {
    notice?.(
      `${name} was trained on the path ${path}, which is neither linear nor cosine: sampleTransportOde of the library has it.`,
    )
  }
  return { kind: kindOfName(model), heads, path: path === undefined ? undefined : SCRIPT_PATHS[path] }
}
