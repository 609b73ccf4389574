/**
 * How far two representations of the same things agree, by their neighbourhoods and kernels: the measures of the Platonic
 * Representation Hypothesis (Huh et al., arXiv 2405.07987; minyoungg/platonic-rep, metrics.py) and CKNNA as REPA's paper writes it
 * (arXiv 2410.06940, equations 21 to 24). Everything is float64. Of two n × n kernels only what neighbours select is ever there,
 * except for CKA, which takes a kernel's every element.
 */
import { mostSimilar } from '../tensor/ops/statistics.ts'
import { Tensor } from '../tensor/tensor.ts'

/** [count, width], row by row. */
export interface Representation {
  readonly values: Float64Array
  readonly count: number
  readonly width: number
}

/** The neighbours of every row, [count, k]: the largest inner products first. */
export interface Neighbours {
  readonly indices: Int32Array
  readonly k: number
}

/** How much the reference adds to the denominator of CKNNA and CKA. */
const DENOMINATOR_EPSILON = 1e-6

/** The k nearest of every row by inner product; with `includeSelf` a row may be among its own. */
export async function neighboursOf(
  { values, count, width }: Representation,
  k: number,
  { includeSelf = false } = {},
): Promise<Neighbours> {
  using x = Tensor.from(values, [count, width], 'cpu')
  using indices = mostSimilar(x, k, { includeSelf })
  return { indices: await indices.dataAs('i32'), k }
}

/** The rows that are neighbours of a row in both: [i, j] pairs, flat. */
function mutualPairs(a: Neighbours, b: Neighbours): Int32Array {
  const pairs: number[] = []
  const rows = a.indices.length / a.k
  for (let i = 0; i < rows; i++) {
    const others = new Set(b.indices.subarray(i * b.k, (i + 1) * b.k))
    for (const j of a.indices.subarray(i * a.k, (i + 1) * a.k)) if (others.has(j)) pairs.push(i, j)
  }
  return Int32Array.from(pairs)
}

function innerProduct({ values, width }: Representation, i: number, j: number): number {
  let sum = 0
  for (let d = 0; d < width; d++) sum += values[i * width + d]! * values[j * width + d]!
  return sum
}

const kernelAt = (x: Representation, pairs: Int32Array): Float64Array =>
  Float64Array.from({ length: pairs.length / 2 }, (_, p) => innerProduct(x, pairs[2 * p]!, pairs[2 * p + 1]!))

/** Mean over l of K_il for every row i: ⟨x_i, mean x⟩. */
function rowMeans({ values, count, width }: Representation): Float64Array {
  const mean = new Float64Array(width)
  for (let i = 0; i < values.length; i++) mean[i % width]! += values[i]! / count
  return Float64Array.from({ length: count }, (_, i) => {
    let sum = 0
    for (let d = 0; d < width; d++) sum += values[i * width + d]! * mean[d]!
    return sum
  })
}

/** A representation with its neighbours, so that several comparisons with it find them once. */
export interface PreparedRepresentation extends Representation {
  /** Without the row itself. */
  readonly neighbours: Neighbours
}

export async function prepareRepresentation(x: Representation, k: number): Promise<PreparedRepresentation> {
  return { ...x, neighbours: await neighboursOf(x, k) }
}

/**
 * CKNNA as the paper writes it: Align(K, L) = Σ α(i, j) (K_ij − mean K_i·)(L_ij − mean L_i·) / (n − 1)², α being 1 where j ≠ i is
 * among the k nearest of i in both; CKNNA = Align(K, L) / √(Align(K, K) Align(L, L)). Kernels are centred by the means of whole rows.
 */
export function cknnaOfPaper(a: PreparedRepresentation, b: PreparedRepresentation): number {
  const [meansA, meansB] = [rowMeans(a), rowMeans(b)]
  const align = (
    [x, meansX]: readonly [PreparedRepresentation, Float64Array],
    [y, meansY]: readonly [PreparedRepresentation, Float64Array],
  ) => {
    const pairs = mutualPairs(x.neighbours, y.neighbours)
    const [k, l] = [kernelAt(x, pairs), kernelAt(y, pairs)]
    // The factor 1 / (n − 1)² is that of numerator and denominator.
    return k.reduce((sum, value, p) => {
      const i = pairs[2 * p]!
      return sum + (value - meansX[i]!) * (l[p]! - meansY[i]!)
    }, 0)
  }
  return align([a, meansA], [b, meansB]) / Math.sqrt(align([a, meansA], [a, meansA]) * align([b, meansB], [b, meansB]))
}

export interface PlatonicCknnaOptions {
  /** The unbiased estimator of HSIC, in which no row is its own neighbour. Default true, as there. */
  readonly unbiased?: boolean
  /** Counts mutual neighbours instead of weighing them by the kernels. Default false. */
  readonly distanceAgnostic?: boolean
}

/**
 * CKNNA as platonic-rep computes it: both kernels are masked by the mutual neighbours first, and HSIC centres what is left, zeros
 * included. Much smaller numbers than the paper's formula gives come from that order.
 */
export function cknnaOfPlatonicRep(
  a: PreparedRepresentation,
  b: PreparedRepresentation,
  options: Omit<PlatonicCknnaOptions, 'unbiased'> = {},
): number {
  return maskedCknna(a, a.neighbours, b, b.neighbours, { ...options, unbiased: true })
}

/** As `cknnaOfPlatonicRep`, with every option; it finds the neighbours itself. */
export async function cknna(
  a: Representation,
  b: Representation,
  k: number,
  options: PlatonicCknnaOptions = {},
): Promise<number> {
  const { unbiased = true } = options
  const neighbours = (x: Representation) => neighboursOf(x, k, { includeSelf: !unbiased })
  return maskedCknna(a, await neighbours(a), b, await neighbours(b), { ...options, unbiased })
}

function maskedCknna(
  a: Representation,
  neighboursA: Neighbours,
  b: Representation,
  neighboursB: Neighbours,
  { unbiased = true, distanceAgnostic = false }: PlatonicCknnaOptions,
): number {
  const similarity = (x: Representation, nx: Neighbours, y: Representation, ny: Neighbours) => {
    const pairs = mutualPairs(nx, ny)
    if (distanceAgnostic) return pairs.length / 2
    return sparseHsic(pairs, kernelAt(x, pairs), kernelAt(y, pairs), x.count, unbiased)
  }
  const [kl, kk, ll] = [
    similarity(a, neighboursA, b, neighboursB),
    similarity(a, neighboursA, a, neighboursA),
    similarity(b, neighboursB, b, neighboursB),
  ]
  return kl / (Math.sqrt(kk * ll) + DENOMINATOR_EPSILON)
}

/** HSIC of two n × n matrices that are zero except at the same `pairs`. The mask is not symmetric, so neither are they. */
function sparseHsic(pairs: Int32Array, k: Float64Array, l: Float64Array, n: number, unbiased: boolean): number {
  const rowsK = new Float64Array(n)
  const columnsK = new Float64Array(n)
  const rowsL = new Float64Array(n)
  const columnsL = new Float64Array(n)
  const at = new Map<number, number>()
  for (let p = 0; p < k.length; p++) at.set(pairs[2 * p]! * n + pairs[2 * p + 1]!, p)
  let [sumK, sumL, crossed] = [0, 0, 0]
  for (let p = 0; p < k.length; p++) {
    const [i, j] = [pairs[2 * p]!, pairs[2 * p + 1]!]
    if (unbiased && i === j) continue
    rowsK[i]! += k[p]!
    columnsK[j]! += k[p]!
    rowsL[i]! += l[p]!
    columnsL[j]! += l[p]!
    sumK += k[p]!
    sumL += l[p]!
    const mirrored = at.get(j * n + i)
    if (mirrored !== undefined) crossed += k[p]! * l[mirrored]!
  }
  return hsicOf({ crossed, sumK, sumL, kl: dot(columnsK, rowsL), lk: dot(columnsL, rowsK), n }, unbiased)
}

/**
 * HSIC from sums over two n × n matrices: `crossed` = Σ K_ij L_ji, `kl` = 1ᵀKL1, `lk` = 1ᵀLK1. Biased: tr(KHLH). Unbiased (Song et al.
 * 2012): of matrices whose diagonals were set to zero.
 */
function hsicOf(
  { crossed, sumK, sumL, kl, lk, n }: Record<'crossed' | 'sumK' | 'sumL' | 'kl' | 'lk' | 'n', number>,
  unbiased: boolean,
): number {
  if (!unbiased) return crossed - (kl + lk) / n + (sumK * sumL) / (n * n)
  return (crossed + (sumK * sumL) / ((n - 1) * (n - 2)) - (2 * kl) / (n - 2)) / (n * (n - 3))
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0)
}

export interface CkaOptions {
  /** Default false, as there. */
  readonly unbiased?: boolean
  /** Of the kernel exp(−|x − y|² / 2σ²); without it the kernel is the inner product. */
  readonly rbfSigma?: number
}

/** Centred kernel alignment (Kornblith et al., arXiv 1905.00414): HSIC(K, L) / (√(HSIC(K, K) HSIC(L, L)) + 1e-6). O(n² width) time. */
export function cka(a: Representation, b: Representation, options: CkaOptions = {}): number {
  const { unbiased = false, rbfSigma } = options
  const [rowsA, rowsB] = [kernelRow(a, rbfSigma), kernelRow(b, rbfSigma)]
  const n = a.count
  const names = ['kl', 'kk', 'll'] as const
  const crossed = { kl: 0, kk: 0, ll: 0 }
  const sumsA = new Float64Array(n)
  const sumsB = new Float64Array(n)
  for (let i = 0; i < n; i++) {
    const [k, l] = [rowsA(i), rowsB(i)]
    if (unbiased) k[i] = l[i] = 0
    for (let j = 0; j < n; j++) {
      sumsA[i]! += k[j]!
      sumsB[i]! += l[j]!
      crossed.kl += k[j]! * l[j]!
      crossed.kk += k[j]! * k[j]!
      crossed.ll += l[j]! * l[j]!
    }
  }
  const total = (sums: Float64Array) => sums.reduce((sum, value) => sum + value, 0)
  const [kl, kk, ll] = names.map((name) => {
    const x = name === 'll' ? sumsB : sumsA
    const y = name === 'kk' ? sumsA : sumsB
    const between = dot(x, y)
    return hsicOf({ crossed: crossed[name], sumK: total(x), sumL: total(y), kl: between, lk: between, n }, unbiased)
  }) as [number, number, number]
  return kl / (Math.sqrt(kk * ll) + DENOMINATOR_EPSILON)
}

function kernelRow(x: Representation, rbfSigma: number | undefined): (i: number) => Float64Array {
  const { values, count, width } = x
  if (rbfSigma === undefined) return (i) => Float64Array.from({ length: count }, (_, j) => innerProduct(x, i, j))
  return (i) =>
    Float64Array.from({ length: count }, (_, j) => {
      let squares = 0
      for (let d = 0; d < width; d++) squares += (values[i * width + d]! - values[j * width + d]!) ** 2
      return Math.exp(-squares / (2 * rbfSigma ** 2))
    })
}

/** The mean share of a row's k neighbours that it has in both representations. */
export function mutualKnn(a: Neighbours, b: Neighbours): number {
  return mutualPairs(a, b).length / 2 / a.indices.length
}

/** The share of rows that are a neighbour, in `a`, of one of their neighbours in `b`. */
export function cycleKnn(a: Neighbours, b: Neighbours): number {
  const rows = a.indices.length / a.k
  let back = 0
  for (let i = 0; i < rows; i++) {
    const isBack = b.indices
      .subarray(i * b.k, (i + 1) * b.k)
      .some((j) => a.indices.subarray(j * a.k, (j + 1) * a.k).includes(i))
    if (isBack) back++
  }
  return back / rows
}

/** Clamps to ± the q-quantile of all absolute values: the element of index ⌊q · count⌋ of them, sorted (platonic-rep, exact). */
export function removeOutliers(values: Float32Array, q: number): Float32Array {
  const sorted = values.map(Math.abs).sort()
  const limit = sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!
  return values.map((value) => Math.min(limit, Math.max(-limit, value)))
}

/** Every row divided by its length; a row of zeros stays. */
export function normaliseRows({ values, count, width }: Representation): Representation {
  const normalised = values.slice()
  for (let i = 0; i < count; i++) {
    const row = normalised.subarray(i * width, (i + 1) * width)
    const length = Math.sqrt(dot(row, row))
    if (length > 0) for (let d = 0; d < width; d++) row[d]! /= length
  }
  return { values: normalised, count, width }
}
