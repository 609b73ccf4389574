/**
 * What operations take beside their results while they run, in bytes: the formulas of the kernels (native/cpu, native/cuda), those of
 * the CPU's products for its widest level. A few per cent of a step's memory at most.
 */
import { DTYPE_BYTES, type DType } from '../tensor/dtype.ts'
import type { PlannedMachine } from './planner.ts'

const FLOAT = 4
const ceilDivide = (a: number, b: number) => Math.ceil(a / b)
const roundUp = (a: number, b: number) => ceilDivide(a, b) * b

/** A matrix product [m, k] · [k, n]. */
export interface Product {
  readonly layout: 'forward' | 'inputGradient' | 'weightGradient'
  readonly m: number
  readonly n: number
  readonly k: number
  /** Whether the sums of the result's columns are made with it (a bias's gradient). */
  readonly columnSums?: boolean
  /** f32 products have a kernel of their own. */
  readonly isFloat32: boolean
}

// native/cpu/gemm.cpp, gemm_microkernel.h, gemm_pack.h.
const TILE_ROWS = 14
const TILE_COLUMNS = 32
const FEW_ROWS = 32
const SHORT_K = 16
const MOST_STEPS = 384
const CHUNK_ROW_PANELS = 5
const CHUNK_COLUMN_PANELS = 12
const MOST_PACKED_FLOATS = 8 * 2 ** 20

/** native/cpu/gemm.cpp: packed B, and what each thread stages. */
export function cpuProductWorkspace({ layout, m, n, k }: Product, threads: number): number {
  const isTransposedA = layout === 'weightGradient'
  const isTransposedB = layout === 'forward'
  if (m <= FEW_ROWS && isTransposedB) return FLOAT
  if (k <= SHORT_K && !isTransposedB) return FLOAT
  const readsBInPlace = m <= FEW_ROWS && !isTransposedB
  const packed = readsBInPlace ? 0 : Math.min(roundUp(n, TILE_COLUMNS) * k, MOST_PACKED_FLOATS)
  const steps = Math.min(k, MOST_STEPS)
  const staged = isTransposedA ? CHUNK_ROW_PANELS * roundUp(TILE_ROWS, 16) * steps : TILE_ROWS * steps
  const tiles = k > MOST_STEPS ? CHUNK_ROW_PANELS * CHUNK_COLUMN_PANELS * TILE_ROWS * TILE_COLUMNS : 0
  return FLOAT * (packed + threads * (staged + tiles))
}

/** What of a GPU decides how its products are cut. */
type GpuSlots = Pick<PlannedMachine, 'multiprocessors' | 'isHopper'>

const GPU_TILE = 128
const LONG_SUM = 32_768
const LONG_SUM_PART = 8192
const MOST_SPLITS = 32
const LEAST_DEPTH = 256
const PART_COST = 800
const SUM_ROWS = 8

/**
 * native/cuda/gemm.cpp, planGemm: the parts of products whose sums are cut, and their partial column sums. Only weight gradients may be
 * several, which share a launch.
 */
export function cudaProductsWorkspace(products: readonly Product[], gpu: GpuSlots): number {
  return products.reduce((bytes, { layout, m, n, k, columnSums = false }) => {
    const long = k < LONG_SUM ? 1 : ceilDivide(k, LONG_SUM_PART)
    const splits = layout === 'weightGradient' ? splitsOfWeightGradients(products, gpu) : long
    const parts = splits > 1 ? splits * m * n * FLOAT : 0
    const sums = columnSums ? ceilDivide(m, splits > 1 ? SUM_ROWS : GPU_TILE) * n * FLOAT : 0
    return bytes + roundUp(parts, 256) + roundUp(sums, 256)
  }, 0)
}

/** The parts of the sums of weight gradients that share a launch, the same for each. */
export function splitsOfWeightGradients(
  products: readonly Omit<Product, 'layout'>[],
  { multiprocessors, isHopper }: GpuSlots,
): number {
  // Of the kernels with wgmma a multiprocessor has room for one block of threads, of the others for two.
  const isWgmma = isHopper && !products[0]!.isFloat32
  const rows = isWgmma ? 2 * GPU_TILE : GPU_TILE
  const slots = (isWgmma ? 1 : 2) * multiprocessors
  const k = Math.max(1, ...products.map((product) => product.k))
  const tiles = products.reduce((sum, { m, n }) => sum + ceilDivide(m, rows) * ceilDivide(n, GPU_TILE), 0)
  let best = { splits: 1, cost: Number.POSITIVE_INFINITY }
  for (let splits = 1; splits <= MOST_SPLITS && (splits === 1 || k / splits >= LEAST_DEPTH); splits++) {
    const waves = ceilDivide(tiles * splits, slots) / splits
    const cost = waves + (splits === 1 ? 0 : (PART_COST / k) * splits * ceilDivide(tiles, slots))
    if (cost < best.cost) best = { splits, cost }
  }
  return best.splits
}

/** Elements of a patch up to which a GPU has a kernel for its embedding (native/cuda/patch_embed.h). */
export const MOST_PATCH_ELEMENTS = 64

/** native/ops/patch_embed.cpp, paddedElements: of rows of whole units of 16 bytes, in 16 bits on a GPU. */
export const paddedPatchElements = (elements: number) => roundUp(elements, 8)

/** native/cuda/patch_embed_backward.cu, partsOf: the parts of the gradients of a patch embedding's weight [width, elements] and bias, over `rows` tokens. */
export function patchEmbedWorkspace(rows: number, width: number, elements: number): number {
  const MOST_THREADS = 288
  const LEAST_ROWS = 64
  const owners = ceilDivide(width, 4)
  const strips = ceilDivide(owners, MOST_THREADS)
  const threads = roundUp(ceilDivide(owners, strips), 32)
  const wanted = Math.floor((2 * 132 * MOST_THREADS) / (threads * strips * Math.max(1, ceilDivide(elements, 32))))
  const parts = Math.max(1, Math.min(wanted, Math.floor(rows / LEAST_ROWS)))
  return FLOAT * parts * width * (elements + 1)
}

// native/cpu/chunks.h, attention_blocks.h.
const CHUNK_FLOATS = 32_768
const LEAST_ROWS = 32
const MOST_KEYS = 320
const MOST_QUERIES = 512
const QUERY_BLOCK = 64

/** Parts into which rows are cut where each part costs a row of sums. */
function rowParts(rows: number, width: number): number {
  return ceilDivide(rows, Math.max(Math.floor(CHUNK_FLOATS / Math.max(width, 1)), LEAST_ROWS))
}

/** Sums over the rows of [groups, rows, width] on a CPU, `sums` of them in one pass. */
export const rowSumWorkspace = (groups: number, rows: number, width: number, sums: number): number =>
  FLOAT * groups * rowParts(rows, width) * sums * width

/**
 * native/cuda/branch_backward.h: the `sums` over the rows of [groups, rows, width] where a group has several parts; else those that are `joined`,
 * over the groups or to what is there.
 */
export function branchBackwardWorkspace(
  groups: number,
  rows: number,
  width: number,
  sums: number,
  joined: number,
): number {
  const parts = branchBackwardParts(groups, rows)
  return FLOAT * (parts === 1 ? joined : sums) * groups * parts * width
}

/** native/cuda/branch_backward_arguments.h, partsOf. */
function branchBackwardParts(groups: number, rows: number): number {
  const WAVE = 264
  const LEAST_ROWS = 8
  if (groups === 0 || rows === 0) return 1
  let best = { parts: 1, cost: Number.POSITIVE_INFINITY }
  for (let parts = 1; parts === 1 || (parts <= WAVE && parts * LEAST_ROWS <= rows); parts++) {
    const blocks = groups * parts
    const cost = ((ceilDivide(blocks, WAVE) * WAVE) / blocks) * (1 + (2 * parts) / rows)
    if (cost < best.cost) best = { parts, cost }
  }
  return best.parts
}

/** native/cuda/reduction.cu, partsOf: a matrix's sums of columns. */
export function columnSumWorkspace(rows: number, width: number): number {
  const wanted = ceilDivide(528, ceilDivide(width, 256))
  return FLOAT * Math.max(1, Math.min(wanted, ceilDivide(rows, 64))) * width
}

/**
 * One head's attention on the CPU, by thread; on a GPU the backward pass keeps two numbers of every row, and where it sums dqkv's columns
 * a part of them for every 128 tokens of a sample, or 64 (native/cuda/attention_arguments.h).
 */
export function attentionWorkspace(
  { batch, tokens, heads, headDim }: { batch: number; tokens: number; heads: number; headDim: number },
  direction: 'forward' | 'backward',
  { isCpu, threads, columnSums }: { isCpu: boolean; threads: number; columnSums: boolean },
): number {
  if (!isCpu) {
    const parts = columnSums ? batch * ceilDivide(tokens, headDim <= 72 ? 128 : 64) : 0
    return direction === 'forward' ? 0 : FLOAT * (2 * batch * heads * tokens + parts * 3 * heads * headDim)
  }
  const keys = roundUp(ceilDivide(tokens, ceilDivide(tokens, MOST_KEYS)), 16)
  const keyStride = roundUp(keys, 16)
  const dimStride = roundUp(headDim, 16)
  const queries = Math.min(tokens, MOST_QUERIES)
  const perThread =
    direction === 'forward'
      ? headDim * keyStride + (keys + QUERY_BLOCK + queries) * dimStride + QUERY_BLOCK * keyStride + 2 * queries
      : 2 * headDim * keyStride + 3 * (keys + QUERY_BLOCK) * dimStride + 2 * QUERY_BLOCK * keyStride
  return FLOAT * threads * perThread
}

/**
 * Of two attentions that are compared: on a CPU, of so many `threads`, a head's operands and a block's scores (native/cpu/attention_alignment.cpp);
 * on a GPU two logarithms a query and the sums of 32 queries each (native/cuda/attention_alignment.cu).
 */
export function attentionAlignmentWorkspace(
  sizes: { batch: number; tokens: number; dims: number; teacherDims: number; aligned: number },
  threads: number | undefined,
): number {
  const { batch, tokens, dims, teacherDims, aligned } = sizes
  const heads = batch * aligned
  if (threads === undefined) return FLOAT * heads * (2 * tokens + 2 * ceilDivide(tokens, 32))
  const odd = (count: number) => (ceilDivide(count, 16) | 1) * 16
  const perThread =
    (dims + teacherDims) * odd(tokens) +
    2 * tokens * odd(dims) +
    QUERY_BLOCK * (2 * odd(dims) + odd(teacherDims) + 2 * odd(tokens))
  return FLOAT * (16 + roundUp(2 * heads, 16) + threads * roundUp(perThread, 16))
}

/** Sums of blocks of samples (native/cpu/norm_factors.cpp), or of parts of them, where there are several (native/cuda/norm_factors.cu, partsOf). */
export function normFactorsWorkspace(batch: number, norms: number, width: number, isCpu: boolean): number {
  if (isCpu) return FLOAT * norms * ceilDivide(batch, 64) * width
  const blocks = norms * ceilDivide(width, 512)
  const parts = Math.max(1, Math.min(ceilDivide(264, blocks), Math.floor(batch / 64)))
  return parts > 1 ? FLOAT * norms * parts * width : 0
}

/** The gradients of qk-norm's weights, [parts, 4, d] of them (native/cpu/qk_norm.cpp, native/cuda/qk_norm.cu). */
export function qkNormWorkspace(rows: number, heads: number, headDim: number, isCpu: boolean): number {
  const vectors = 3 * heads * rows
  const parts = isCpu
    ? ceilDivide(rows, ceilDivide(CHUNK_FLOATS, 3 * heads * headDim))
    : ceilDivide(vectors, Math.max(64, ceilDivide(vectors, 528)))
  return FLOAT * parts * 4 * roundUp(headDim, isCpu ? 16 : 1)
}

/** A convolution of channels-last images. */
export interface Convolution {
  readonly batch: number
  readonly outHeight: number
  readonly outWidth: number
  readonly channels: number
  readonly outChannels: number
  readonly kernelHeight: number
  readonly kernelWidth: number
  readonly stride: readonly number[]
}

// native/cpu/conv2d.cpp.
const TILE_PIXELS = 224
const TILE_PANELS = 2
const MOST_PATCH_FLOATS = 96 * 2 ** 10
const BLOCK_COLUMN_PANELS = 8
const MANY_CHUNKS = 32

/**
 * On a CPU, of so many `threads`, the packed weight and each thread's patch and sums (native/cpu/conv2d.cpp); on a GPU the input once more,
 * where it is `normalised` or brought to that dtype.
 */
export function convolutionWorkspace(
  { batch, outHeight, outWidth, channels, outChannels, kernelHeight, kernelWidth, stride }: Convolution,
  input: {
    readonly threads: number | undefined
    readonly normalised: DType | undefined
    readonly inputElements: number
  },
): number {
  const { threads, normalised, inputElements } = input
  if (threads === undefined) return normalised === undefined ? 0 : inputElements * DTYPE_BYTES[normalised]
  const meetsInOneSet = (channels * stride[1]! * FLOAT) % 4096
  const pixelStride = meetsInOneSet === 0 || meetsInOneSet === 2048 ? channels + 16 : channels
  const under = (outputs: number, step: number, kernel: number) => (outputs - 1) * step + kernel
  const panelsAcross = ceilDivide(outWidth, TILE_ROWS)
  const across = ceilDivide(panelsAcross, TILE_PANELS)
  const panelsPerTile = ceilDivide(panelsAcross, across)
  const width = Math.min(outWidth, panelsPerTile * TILE_ROWS)
  const patchWidth = under(width, stride[1]!, kernelWidth)
  let rows = Math.min(outHeight, Math.max(1, Math.floor(TILE_PIXELS / width)))
  const patchFloats = () => under(rows, stride[0]!, kernelHeight) * patchWidth * pixelStride
  while (rows > 1 && patchFloats() > MOST_PATCH_FLOATS) rows--
  const tiles = () => batch * across * ceilDivide(outHeight, rows)
  while (rows > 4 && tiles() < MANY_CHUNKS) rows = ceilDivide(rows, 2)
  rows = ceilDivide(outHeight, ceilDivide(outHeight, rows))
  const columnPanels = ceilDivide(outChannels, TILE_COLUMNS)
  const columnParts = Math.min(columnPanels, ceilDivide(MANY_CHUNKS, Math.max(1, tiles())))
  const columns = Math.min(BLOCK_COLUMN_PANELS, ceilDivide(columnPanels, columnParts))
  const sums = rows * panelsPerTile * columns * TILE_ROWS * TILE_COLUMNS
  const packed = columnPanels * TILE_COLUMNS * kernelHeight * kernelWidth * channels
  return FLOAT * (roundUp(packed, 16) + threads * (roundUp(patchFloats(), 16) + roundUp(sums, 16)))
}

/** The moments of the parts of a GroupNorm's channels (native/cpu/group_norm.cpp, native/cuda/group_norm.cu). */
export function groupNormWorkspace(batch: number, pixels: number, channels: number, isCpu: boolean): number {
  const parts = isCpu
    ? ceilDivide(pixels, Math.max(1, Math.floor(CHUNK_FLOATS / channels)))
    : Math.max(
        Math.min(Math.floor((8 * 132) / (ceilDivide(channels, 32) * batch)) + 1, ceilDivide(pixels, 64)),
        ceilDivide(pixels, 4096),
      )
  return FLOAT * batch * parts * 2 * channels
}
