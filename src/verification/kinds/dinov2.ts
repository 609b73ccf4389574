/** `dinov2.*`, `table.pos-resample` and `formula.dinov2-repa-teacher`: DINOv2's vision transformer, as itself and as REPA's teacher. */
import * as z from 'zod'
import { normalizedInput } from '../../alignment/preprocessing.ts'
import { REPA_INTERPOLATION } from '../../alignment/vision-encoder.ts'
import { IMAGENET } from '../../models/image-normalisation.ts'
import { type Grid, PositionTable } from '../../models/position-table.ts'
import { VisionTransformer } from '../../models/vit.ts'
import {
  type PositionInterpolation,
  type VisionTransformerConfig,
  visionTransformerConfigSchema,
} from '../../models/vit-config.ts'
import type { Device } from '../../tensor/device.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'
import { Parameter } from '../../tensor/parameter.ts'
import { keep, scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { formulaSource, readFormulaTable } from '../formula.ts'
import type { GoldenSet } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import { everyNth } from './every-nth.ts'
import type { Runner } from './kind.ts'
import { loadModel } from './load-model.ts'

const positive = z.int().positive()

/** The constructor arguments of DinoVisionTransformer. */
const referenceConfigSchema = z
  .object({
    img_size: positive,
    patch_size: positive,
    in_chans: positive.default(3),
    embed_dim: positive,
    depth: positive,
    num_heads: positive,
    mlp_ratio: z.number().positive().default(4),
    ffn_layer: z.enum(['mlp', 'swiglu', 'swiglufused']),
    num_register_tokens: z.int().nonnegative(),
    interpolate_antialias: z.boolean(),
    interpolate_offset: z.number().nonnegative(),
  })
  .transform((config, context): VisionTransformerConfig => {
    const result = visionTransformerConfigSchema.safeParse({
      imageSize: config.img_size,
      patch: config.patch_size,
      channels: config.in_chans,
      hidden: config.embed_dim,
      depth: config.depth,
      heads: config.num_heads,
      ffn: config.ffn_layer === 'mlp' ? 'mlp' : 'swiglu',
      ffnWidth: ffnWidthOf(config),
      registers: config.num_register_tokens,
      interpolation: { antialias: config.interpolate_antialias, offset: config.interpolate_offset },
    })
    if (result.success) return result.data
    for (const { path, message } of result.error.issues) context.addIssue({ code: 'custom', path: [...path], message })
    return z.NEVER
  })

/** As the reference's constructors derive it; SwiGLU's two thirds are rounded up to a multiple of 8. */
function ffnWidthOf(config: { embed_dim: number; mlp_ratio: number; ffn_layer: string }): number {
  const width = Math.trunc(config.embed_dim * config.mlp_ratio)
  return config.ffn_layer === 'mlp' ? width : Math.ceil(Math.trunc((width * 2) / 3) / 8) * 8
}

const modelArguments = { config: referenceConfigSchema, params: z.string() }

async function loadVisionTransformer(
  set: GoldenSet,
  { config, params }: { readonly config: VisionTransformerConfig; readonly params: string },
  device: Device,
): Promise<VisionTransformer> {
  await using file = set.file(params)
  return await loadModel(set, VisionTransformer.fromConfig(config, device), file.state())
}

/** Runs the model on a normalised image and keeps what it gives under the names of forward_features' dictionary. */
function observeFeatures(
  model: VisionTransformer,
  image: Tensor,
  interpolation: PositionInterpolation,
  seen: ObservedTensors,
): void {
  const output = model.forward(image, { interpolation })
  if (output.clsToken) seen.observe('x_norm_clstoken', output.clsToken)
  seen.observe('x_norm_patchtokens', output.patchTokens)
  seen.observe('x_prenorm', output.prenorm)
  if (output.registerTokens) seen.observe('x_norm_regtokens', output.registerTokens)
  const { patch } = model.config
  observePositions(model.positions, [image.shape[2]! / patch, image.shape[3]! / patch], interpolation, seen)
}

function observePositions(
  table: PositionTable,
  grid: Grid,
  interpolation: PositionInterpolation,
  seen: ObservedTensors,
): void {
  seen.observe('class position', table.classEntry())
  seen.observe('patch positions', table.patchEntries(grid, interpolation))
}

/** The table that was used, the class token's entry first: [1, 1 + T, D]. */
async function positionsOf(seen: ObservedTensors): Promise<HostTensor> {
  const first = await seen.get('class position')!.data()
  const patches = await seen.get('patch positions')!.data()
  const all = new Float32Array(first.length + patches.length)
  all.set(first)
  all.set(patches, first.length)
  return hostFloat32(all, [1, all.length / first.length, first.length])
}

export const dinov2Forward: Runner = async function* (file, device) {
  using model = await loadVisionTransformer(file.set, file.args(z.object(modelArguments)), device)
  using seen = new ObservedTensors()
  const x = await file.read('x')
  scope(() => observeFeatures(model, Tensor.fromHostTensor(x, device), model.config.interpolation, seen))
  for (const name of Object.keys(file.tensors)) {
    const actual = name === 'pos_embed_used' ? await positionsOf(seen) : seen.get(name)
    if (actual) yield await file.compare(name, actual)
  }
}

const intermediateArguments = z.object({
  ...modelArguments,
  layers: z.union([positive, z.array(z.int().nonnegative())]),
})

/** Outputs `layerN.patch` and `layerN.cls`, N being a block where all are among `layers`, else a place in that list. */
export const dinov2Intermediate: Runner = async function* (file, device) {
  const args = file.args(intermediateArguments)
  using model = await loadVisionTransformer(file.set, args, device)
  using seen = new ObservedTensors()
  const x = await file.read('x')
  const { depth } = args.config
  const { layers } = args
  const blocks = typeof layers === 'number' ? Array.from({ length: layers }, (_, i) => depth - layers + i) : layers
  const outputs = Object.keys(file.tensors).flatMap((name) => {
    const match = /^layer(\d+)\.(patch|cls)$/.exec(name)
    return match ? [{ name, n: Number(match[1]), part: match[2]! }] : []
  })
  const byBlock = outputs.every(({ n }) => blocks.includes(n))
  scope(() => {
    // In the blocks' order, whatever that of the request.
    const order = [...new Set(blocks)].sort((a, b) => a - b)
    model.intermediateLayers(Tensor.fromHostTensor(x, device), blocks).forEach((tokens, i) => {
      seen.observe(`${order[i]}.patch`, tokens.patchTokens)
      if (tokens.clsToken) seen.observe(`${order[i]}.cls`, tokens.clsToken)
    })
  })
  for (const { name, n, part } of outputs) {
    const actual = seen.get(`${byBlock ? n : blocks[n]}.${part}`)
    if (actual) yield await file.compare(name, actual)
  }
}

/** Outputs `N.out`: the square table `N.in` [1, 1 + side², D] resampled to another square grid; the class entry stays. */
export const tablePosResample: Runner = async function* (file, device) {
  for (const [name, { shape }] of Object.entries(file.tensors)) {
    if (!name.endsWith('.out')) continue
    const learnt = await file.read(name.replace(/out$/, 'in'))
    const [, entries, width] = learnt.shape
    const side = Math.sqrt(shape[1]! - 1)
    using seen = new ObservedTensors()
    using values = Tensor.from(toFloat32(learnt), [entries!, width!], device)
    const parameter = new Parameter(name, [entries!, width!], false)
    parameter.bind(keep(values))
    const table = new PositionTable(parameter)
    scope(() => observePositions(table, [side, side], REPA_INTERPOLATION, seen))
    table.clear()
    yield await file.compare(name, await positionsOf(seen))
  }
}

const teacherArguments = z.object({ config: referenceConfigSchema, formula: z.string() })

/** REPA's train.py scales photos of 256 pixels to 224 and of 512 to 448: 224 · (resolution // 256). */
const teacherSize = (resolution: number) => 224 * Math.floor(resolution / 256)

export const formulaDinov2RepaTeacher: Runner = async function* (file, device) {
  const { config, formula } = file.args(teacherArguments)
  const table = await readFormulaTable(file.set, formula)
  using model = await loadModel(file.set, VisionTransformer.fromConfig(config, device), formulaSource(table, formula))
  using seen = new ObservedTensors()
  const photo = await file.read('image_u8')
  scope(() => {
    const [, , height, width] = photo.shape as [number, number, number, number]
    const images = Tensor.from(photo.data, photo.shape, device)
    const input = normalizedInput(images, [teacherSize(height), teacherSize(width)], IMAGENET)
    seen.observe('preprocessed_rows', input)
    observeFeatures(model, input, REPA_INTERPOLATION, seen)
  })
  // Of the rows and tokens, the file keeps every n-th; the class token whole.
  const axes: Readonly<Record<string, number>> = { preprocessed_rows: 2, pos_embed_rows: 1, x_norm_patchtokens: 1 }
  for (const [name, spec] of Object.entries(file.tensors)) {
    const whole = name === 'pos_embed_rows' ? await positionsOf(seen) : await seen.get(name)?.toHost()
    const axis = axes[name]
    if (whole) yield await file.compare(name, axis === undefined ? whole : everyNth(whole, axis, spec))
  }
}
