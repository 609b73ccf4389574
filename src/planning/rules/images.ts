import type { NativeAddon } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'

/** Width of the built-in encoder's features (native/cpu/hog.h). */
const HOG_WIDTH = 128

/** Cells that a convolution of 3 x 3 reads. */
const CELLS = 9

/** Pixels, patches and tokens (native/ops/{patch,pixels,resize,tokens,joined_tokens,concatenate,token_grid}.h). */
export const imageRules = (planner: Planner) =>
  ({
    patchify: (image, patch, dtype) => {
      const [batch, channels, height, width] = plannedOf(image).shape
      return planner.like(image, [batch!, (height! / patch) * (width! / patch), channels! * patch * patch], dtype)
    },
    patchifyBackward: (dPatches, channels, height, width) =>
      planner.like(dPatches, [plannedOf(dPatches).size(0), channels, height, width], 'f32'),
    unpatchify: (tokens, channels, height, width) =>
      planner.like(tokens, [plannedOf(tokens).size(0), channels, height, width], 'f32'),
    unpatchifyBackward: (dImage, patch, dtype) => {
      const [batch, channels, height, width] = plannedOf(dImage).shape
      return planner.like(dImage, [batch!, (height! / patch) * (width! / patch), channels! * patch * patch], dtype)
    },
    normalizeImages: (images) => planner.like(images, undefined, 'f32'),
    hog: (images, rows, columns) => {
      const batch = plannedOf(images).size(0)
      const features = planner.like(images, [batch, rows * columns, HOG_WIDTH], 'f32')
      const { threads } = planner.machine
      planner.workspace(4 * HOG_WIDTH * rows * columns * (isOnCpu(images) ? threads : batch))
      return features
    },
    resize: (x, height, width) => {
      const [count, , inputWidth, channels] = plannedOf(x).shape
      const out = planner.like(x, [count!, height, width, channels!])
      const { threads } = planner.machine
      planner.workspace(4 * (8 * (height + width) + (isOnCpu(x) ? threads * inputWidth! * channels! : 0)))
      return out
    },
    prependTokens: (patches, _positions, classToken, _classPosition, registers) => {
      const [batch, tokens, width] = plannedOf(patches).shape
      const more = (classToken ? 1 : 0) + (registers ? plannedOf(registers).size(0) : 0)
      return planner.like(patches, [batch!, tokens! + more, width!], 'f32')
    },
    concatenate: (parts) => {
      const width = parts.reduce((sum, part) => sum + plannedOf(part).size(-1), 0)
      return planner.like(parts[0]!, [...plannedOf(parts[0]!).shape.slice(0, -1), width], 'f32')
    },
    unfoldTokens: (x) => planner.like(x, [...plannedOf(x).shape.slice(0, -1), CELLS * plannedOf(x).size(-1)]),
    unfoldTokensBackward: (dOut) =>
      planner.like(dOut, [...plannedOf(dOut).shape.slice(0, -1), plannedOf(dOut).size(-1) / CELLS]),
    standardizeTokens: (x) => planner.like(x),
    dropTokens: (x, first) => {
      const [batch, tokens, width] = plannedOf(x).shape
      return planner.like(x, [batch!, tokens! - first, width!], 'f32')
    },
    gatherTokens: (x, ids) =>
      planner.like(x, [plannedOf(x).size(0), plannedOf(ids).size(1), plannedOf(x).size(2)], 'f32'),
    gatherTokensBackward: (dOut, _ids, tokens, filled) => {
      const [batch, , width] = plannedOf(dOut).shape
      return [
        planner.like(dOut, [batch!, tokens, width!], 'f32'),
        filled ? planner.like(dOut, [batch!, width!], 'f32') : null,
      ]
    },
    mergeTokens: (base, x, places) => {
      const [batch, tokens] = plannedOf(places).shape
      return planner.like(places, [batch!, tokens!, plannedOf((base ?? x)!).size(2)], 'f32')
    },
    joinTokens: (first, rest, zeros) => {
      const given = (first ?? rest)!
      const tokens =
        first && rest ? plannedOf(first).size(1) + plannedOf(rest).size(1) : plannedOf(given).size(1) + zeros
      return planner.like(given, [plannedOf(given).size(0), tokens, plannedOf(given).size(2)])
    },
    splitTokens: (x, first) => {
      const [batch, tokens, width] = plannedOf(x).shape
      return [planner.like(x, [batch!, first, width!]), planner.like(x, [batch!, tokens! - first, width!])]
    },
  }) satisfies Partial<NativeAddon>
