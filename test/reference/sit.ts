import { activation, activationBackward, swiGlu } from './activation.ts'
import { fromValues, map, type NdArray, reshape, scaled, sum, zeros } from './array.ts'
import { attention, attentionBackward } from './attention.ts'
import { cosineAlignmentLoss, cosineAlignmentLossBackward } from './cosine-alignment-loss.ts'
import { embedding, embeddingBackward } from './embedding.ts'
import { gatedResidual, gatedResidualBackward } from './gated-residual.ts'
import { gatherTokens } from './gather-tokens.ts'
import { interpolant, type Path } from './interpolant.ts'
import {
  layerNorm,
  layerNormBackward,
  layerNormModulate,
  layerNormModulateBackward,
  type ModulationChunks,
} from './layer-norm.ts'
import { linear, linearBackward } from './linear.ts'
import { patchEmbed, patchEmbedBackward } from './patch-embed.ts'
import { unpatchify, unpatchifyInverse } from './patches.ts'
import { qkNorm, qkNormBackward, qkRmsNorm } from './qk-norm.ts'
import { rmsNormModulate } from './rms-norm.ts'
import { rotate } from './rope.ts'
import { timestepEmbedding } from './timestep-embedding.ts'
import { mergeTokens } from './token-subset.ts'
import { velocityLoss, velocityLossBackward } from './velocity-loss.ts'

/** What of REPA's SiT the parameters' shapes do not say. */
export interface SiTConfig {
  readonly patch: number
  readonly depth: number
  readonly heads: number
  /** The projectors read the output of this block, counted from 1. */
  readonly encoderDepth: number
  readonly projectors: number
  readonly qkNorm: boolean
  /** LightningDiT's blocks, forward only: RMSNorm, SwiGLU, rotary positions. */
  readonly lightning?: boolean
  /** TREAD's route, forward only: blocks `from` to `to`, from 1, see the tokens ids [B, M] of each sample alone. */
  readonly route?: { readonly from: number; readonly to: number; readonly ids: ArrayLike<number> }
}

/** Parameters, or their gradients, by the names of the reference's state dict. */
export type Parameters = ReadonlyMap<string, NdArray>

/** The forward pass with all that the backward pass reads. */
export interface SiTActivations {
  readonly tFrequencies: NdArray
  readonly tHidden: NdArray
  readonly c: NdArray
  readonly siluC: NdArray
  readonly blocks: readonly BlockActivations[]
  readonly projectors: readonly ProjectorActivations[]
  readonly finalInput: NdArray
  readonly finalModulation: NdArray
  readonly finalNormed: NdArray
  /** Velocity, [B, C, H, W]. */
  readonly output: NdArray
  /** REG's. */
  readonly classToken: ClassTokenActivations | undefined
}

interface ClassTokenActivations {
  readonly input: NdArray
  readonly projected: NdArray
  /** Its velocity, [B, Z]. */
  readonly output: NdArray
}

interface BlockActivations {
  readonly x: NdArray
  readonly modulation: NdArray
  readonly norm1: NdArray
  readonly qkv: NdArray
  readonly qkvNormed: NdArray
  readonly heads: NdArray
  readonly attention: NdArray
  readonly middle: NdArray
  readonly norm2: NdArray
  readonly hidden: NdArray
  readonly mlp: NdArray
  readonly out: NdArray
}

interface ProjectorActivations {
  readonly input: NdArray
  readonly hidden0: NdArray
  readonly hidden1: NdArray
  readonly z: NdArray
}

const FREQUENCIES = 256

/** x [B, C, H, W], t [B], one label a sample (the null class is the table's last row); of REG's model the noised class token [B, Z]. */
export function sitForward(
  parameters: Parameters,
  config: SiTConfig,
  x: NdArray,
  t: NdArray,
  labels: readonly number[],
  classToken?: NdArray,
): SiTActivations {
  const p = lookup(parameters)
  const affine = (name: string, input: NdArray, act?: 'silu' | 'gelu-tanh') =>
    linear(input, p(`${name}.weight`), p(`${name}.bias`), act)

  const modulate = (input: NdArray, modulation: NdArray, at: ModulationChunks, norm: string) =>
    config.lightning
      ? rmsNormModulate(input, withFactor(modulation, at.scale, p(`${norm}.weight`)), at)
      : layerNormModulate(input, modulation, at)

  const tFrequencies = timestepEmbedding(t, FREQUENCIES)
  const tHidden = affine('t_embedder.mlp.0', tFrequencies, 'silu')
  const c = sum(affine('t_embedder.mlp.2', tHidden), embedding(labels, p('y_embedder.embedding_table.weight')))
  const siluC = activation(c, 'silu')

  const all = p('pos_embed')
  const pos = reshape(all, all.shape.slice(1))
  const patchPos = classToken ? rowsFrom(pos, 1) : pos
  let tokens = patchEmbed(x, p('x_embedder.proj.weight'), p('x_embedder.proj.bias'), patchPos)
  const projected = classToken && affine('cls_projectors2', classToken)
  if (projected) {
    const normed = layerNorm(projected, p('wg_norm.weight'), p('wg_norm.bias'), 1e-6)
    tokens = withFirst(
      map(normed, (value, i) => value + pos.data[i % pos.shape[1]]),
      tokens,
    )
  }
  const [batch, , width] = tokens.shape
  const { route } = config
  let whole = tokens

  const blocks: BlockActivations[] = []
  const projectors: ProjectorActivations[] = []
  for (let i = 0; i < config.depth; i++) {
    const name = `blocks.${i}`
    if (i + 1 === route?.from) {
      whole = tokens
      tokens = gatherTokens(whole, route.ids)
    }
    const input = tokens
    const modulation = reshape(affine(`${name}.adaLN_modulation.1`, siluC), [batch, 6, width])
    const norm1 = modulate(input, modulation, MSA, `${name}.norm1`)
    const packed = [batch, input.shape[1], 3, config.heads, width / config.heads]
    const qkv = reshape(affine(`${name}.attn.qkv`, norm1), packed)
    const qkvNormed = config.lightning
      ? turned(config.qkNorm ? qkRmsNorm(qkv, qkNormWeights(p, name)) : qkv, p)
      : config.qkNorm
        ? qkNorm(qkv, qkNormParameters(p, name))
        : qkv
    const heads = attention(qkvNormed).o
    const attended = affine(`${name}.attn.proj`, heads)
    const middle = gatedResidual(input, attended, modulation, MSA.gate)
    const norm2 = modulate(middle, modulation, MLP, `${name}.norm2`)
    const hidden = config.lightning
      ? swiGlu(affine(`${name}.mlp.w12`, norm2))
      : affine(`${name}.mlp.fc1`, norm2, 'gelu-tanh')
    const mlp = affine(`${name}.mlp.${config.lightning ? 'w3' : 'fc2'}`, hidden)
    tokens = gatedResidual(middle, mlp, modulation, MLP.gate)
    if (i + 1 === route?.to) tokens = mergeTokens(whole, tokens, route.ids, whole.shape)
    blocks.push({
      x: input,
      modulation,
      norm1,
      qkv,
      qkvNormed,
      heads,
      attention: attended,
      middle,
      norm2,
      hidden,
      mlp,
      out: tokens,
    })
    if (i + 1 === config.encoderDepth) {
      for (let k = 0; k < config.projectors; k++) {
        const hidden0 = affine(`projectors.${k}.0`, tokens, 'silu')
        const hidden1 = affine(`projectors.${k}.2`, hidden0, 'silu')
        projectors.push({ input: tokens, hidden0, hidden1, z: affine(`projectors.${k}.4`, hidden1) })
      }
    }
  }

  const finalModulation = reshape(affine('final_layer.adaLN_modulation.1', siluC), [batch, 2, width])
  const finalNormed = modulate(tokens, finalModulation, FINAL, 'final_layer.norm_final')
  const patches = classToken ? split(finalNormed).rest : finalNormed
  const output = unpatchify(affine('final_layer.linear', patches), patchGrid(config, x))
  return {
    tFrequencies,
    tHidden,
    c,
    siluC,
    blocks,
    projectors,
    finalInput: tokens,
    finalModulation,
    finalNormed,
    output,
    classToken:
      classToken && projected
        ? { input: classToken, projected, output: affine('final_layer.linear_cls', split(finalNormed).first) }
        : undefined,
  }
}

/** Gradients of every parameter but the frozen `pos_embed`, given those of the velocity and of each projection. */
export function sitBackward(
  parameters: Parameters,
  config: SiTConfig,
  x: NdArray,
  labels: readonly number[],
  saved: SiTActivations,
  dOutput: NdArray,
  dZ: readonly NdArray[],
  dClassToken?: NdArray,
): Map<string, NdArray> {
  const p = lookup(parameters)
  const gradients = new Map<string, NdArray>()
  // Stores the gradients of one Linear and returns that of its input.
  const affineBackward = (name: string, dy: NdArray, input: NdArray, act?: 'silu' | 'gelu-tanh'): NdArray => {
    const { dx, dWeight, dBias } = linearBackward(dy, input, p(`${name}.weight`), p(`${name}.bias`), act)
    gradients.set(`${name}.weight`, dWeight).set(`${name}.bias`, dBias)
    return dx
  }
  let dSiluC = zeros(saved.siluC.shape)
  const modulationBackward = (name: string, dModulation: NdArray) => {
    const [batch, chunks, width] = dModulation.shape
    dSiluC = sum(dSiluC, affineBackward(name, reshape(dModulation, [batch, chunks * width]), saved.siluC))
  }

  const dTokensOut = unpatchifyInverse(dOutput, patchGrid(config, x))
  const token = saved.classToken && dClassToken ? saved.classToken : undefined
  let dFinalNormed: NdArray
  if (token) {
    const { first, rest } = split(saved.finalNormed)
    dFinalNormed = withFirst(
      affineBackward('final_layer.linear_cls', dClassToken!, first),
      affineBackward('final_layer.linear', dTokensOut, rest),
    )
  } else {
    dFinalNormed = affineBackward('final_layer.linear', dTokensOut, saved.finalNormed)
  }
  const final = layerNormModulateBackward(dFinalNormed, saved.finalInput, saved.finalModulation, FINAL)
  modulationBackward('final_layer.adaLN_modulation.1', final.dModulation)

  let dTokens = final.dx
  for (let i = config.depth - 1; i >= 0; i--) {
    const name = `blocks.${i}`
    const block = saved.blocks[i]
    if (i + 1 === config.encoderDepth) {
      for (const [k, projector] of saved.projectors.entries()) {
        const dHidden1 = affineBackward(`projectors.${k}.4`, dZ[k], projector.hidden1)
        const dHidden0 = affineBackward(`projectors.${k}.2`, dHidden1, projector.hidden0, 'silu')
        dTokens = sum(dTokens, affineBackward(`projectors.${k}.0`, dHidden0, projector.input, 'silu'))
      }
    }

    const mlpGate = gatedResidualBackward(dTokens, block.mlp, block.modulation, MLP.gate)
    const dHidden = affineBackward(`${name}.mlp.fc2`, mlpGate.dy, block.hidden)
    const dNorm2 = affineBackward(`${name}.mlp.fc1`, dHidden, block.norm2, 'gelu-tanh')
    const norm2 = layerNormModulateBackward(dNorm2, block.middle, block.modulation, MLP)
    const dMiddle = sum(mlpGate.dx, norm2.dx)

    const msaGate = gatedResidualBackward(dMiddle, block.attention, block.modulation, MSA.gate)
    const dHeads = affineBackward(`${name}.attn.proj`, msaGate.dy, block.heads)
    let dQkv = attentionBackward(dHeads, block.qkvNormed)
    if (config.qkNorm) {
      const norm = qkNormBackward(dQkv, block.qkv, qkNormParameters(p, name))
      gradients.set(`${name}.attn.q_norm.weight`, norm.dqWeight).set(`${name}.attn.q_norm.bias`, norm.dqBias)
      gradients.set(`${name}.attn.k_norm.weight`, norm.dkWeight).set(`${name}.attn.k_norm.bias`, norm.dkBias)
      dQkv = norm.dQkv
    }
    const [batch, tokens, width] = block.x.shape
    const dNorm1 = affineBackward(`${name}.attn.qkv`, reshape(dQkv, [batch, tokens, 3 * width]), block.norm1)
    const norm1 = layerNormModulateBackward(dNorm1, block.x, block.modulation, MSA)
    dTokens = sum(msaGate.dx, norm1.dx)
    modulationBackward(
      `${name}.adaLN_modulation.1`,
      [mlpGate, norm2, msaGate, norm1].map((part) => part.dModulation).reduce(sum),
    )
  }

  if (token) {
    const { first, rest } = split(dTokens)
    const norm = layerNormBackward(first, token.projected, p('wg_norm.weight'), 1e-6)
    gradients.set('wg_norm.weight', norm.dWeight).set('wg_norm.bias', norm.dBias)
    affineBackward('cls_projectors2', norm.dx, token.input)
    dTokens = rest
  }
  const patches = patchEmbedBackward(dTokens, x, p('x_embedder.proj.weight'))
  gradients.set('x_embedder.proj.weight', patches.dWeight).set('x_embedder.proj.bias', patches.dBias)

  const dC = activationBackward(dSiluC, saved.c, 'silu')
  const classes = p('y_embedder.embedding_table.weight').shape[0]
  gradients.set('y_embedder.embedding_table.weight', embeddingBackward(dC, labels, classes))
  const dTHidden = affineBackward('t_embedder.mlp.2', dC, saved.tHidden)
  affineBackward('t_embedder.mlp.0', dTHidden, saved.tFrequencies, 'silu')
  return gradients
}

export interface RepaBatch {
  /** Clean latents and their noise, [B, C, H, W]; times [B]; labels after dropout. */
  readonly images: NdArray
  readonly noise: NdArray
  readonly t: NdArray
  readonly labels: readonly number[]
  /** Encoder features by projector, [B, T, Z_k]; of REG with the class token's first. */
  readonly targets: readonly NdArray[]
  /** REG's: what the class token's noise is, [B, Z_0], and the weight of its loss. */
  readonly classToken?: { readonly noise: NdArray; readonly weight: number }
}

/**
 * REPA's objective, mean denoising loss + projCoeff * mean over encoders of the alignment, with all gradients; of REG with the weighted mean
 * loss of the class token.
 */
export function repaLoss(
  parameters: Parameters,
  config: SiTConfig,
  batch: RepaBatch,
  path: Path,
  projCoeff: number,
): {
  modelInput: NdArray
  activations: SiTActivations
  denoising: NdArray
  projection: number
  classToken: NdArray | undefined
  total: number
  gradients: Map<string, NdArray>
} {
  const { xt, target } = interpolant(batch.images, batch.noise, batch.t, path)
  const token = batch.classToken && interpolant(split(batch.targets[0]).first, batch.classToken.noise, batch.t, path)
  const activations = sitForward(parameters, config, xt, batch.t, batch.labels, token?.xt)
  const velocity = velocityLoss(activations.output, target)
  const predicted = activations.classToken?.output
  const tokenLoss = token && predicted && velocityLoss(predicted, token.target)
  const tokenWeight = batch.classToken?.weight ?? 0
  const encoders = activations.projectors.length
  let projection = 0
  const dZ: NdArray[] = []
  for (const [k, { z }] of activations.projectors.entries()) {
    projection += cosineAlignmentLoss(z, batch.targets[k]) / encoders
    dZ.push(scaled(cosineAlignmentLossBackward(z, batch.targets[k]), projCoeff / encoders))
  }
  const dOutput = velocityLossBackward(activations.output, target)
  return {
    modelInput: xt,
    activations,
    denoising: velocity.perSample,
    projection,
    classToken: tokenLoss?.perSample,
    total: velocity.loss + projCoeff * projection + tokenWeight * (tokenLoss?.loss ?? 0),
    gradients: sitBackward(
      ...([parameters, config, xt, batch.labels, activations, dOutput, dZ] as const),
      token && predicted && velocityLossBackward(predicted, token.target, tokenWeight),
    ),
  }
}

// Chunks of a block's modulation: shift, scale and gate of attention, then those of the MLP.
const MSA = { shift: 0, scale: 1, gate: 2 }
const MLP = { shift: 3, scale: 4, gate: 5 }
const FINAL = { shift: 0, scale: 1 }

/** Rows of a matrix from one on. */
function rowsFrom(a: NdArray, first: number): NdArray {
  const [rows, columns] = a.shape
  return fromValues([rows - first, columns], a.data.subarray(first * columns))
}

/** [first | rest]: a token [B, D] before tokens [B, N, D]. */
function withFirst(first: NdArray, rest: NdArray): NdArray {
  const [batch, tokens, width] = rest.shape
  const out = zeros([batch, tokens + 1, width])
  for (let b = 0; b < batch; b++) {
    out.data.set(first.data.subarray(b * width, (b + 1) * width), b * (tokens + 1) * width)
    out.data.set(rest.data.subarray(b * tokens * width, (b + 1) * tokens * width), (b * (tokens + 1) + 1) * width)
  }
  return out
}

/** The reverse. */
function split(x: NdArray): { first: NdArray; rest: NdArray } {
  const [batch, tokens, width] = x.shape
  const first = zeros([batch, width])
  const rest = zeros([batch, tokens - 1, width])
  for (let b = 0; b < batch; b++) {
    const sample = x.data.subarray(b * tokens * width, (b + 1) * tokens * width)
    first.data.set(sample.subarray(0, width), b * width)
    rest.data.set(sample.subarray(width), b * (tokens - 1) * width)
  }
  return { first, rest }
}

function lookup(parameters: Parameters): (name: string) => NdArray {
  return (name) => {
    const parameter = parameters.get(name)
    if (!parameter) throw new Error(`There is no parameter ${name}.`)
    return parameter
  }
}

function qkNormWeights(p: (name: string) => NdArray, block: string) {
  return { qWeight: p(`${block}.attn.q_norm.weight`), kWeight: p(`${block}.attn.k_norm.weight`) }
}

/** qkv [B, T, 3, H, d] by the rotary positions of the parameters. */
function turned(qkv: NdArray, p: (name: string) => NdArray): NdArray {
  const [batch, tokens, , heads, width] = qkv.shape
  const packed = reshape(qkv, [batch, tokens, 3 * heads * width])
  return reshape(rotate(packed, p('feat_rope.freqs_cos'), p('feat_rope.freqs_sin'), heads), qkv.shape)
}

/** The modulation with weight ⊙ (1 + scale) in the scale's place. */
function withFactor(modulation: NdArray, scale: number, weight: NdArray): NdArray {
  const [, chunks, width] = modulation.shape
  return map(modulation, (value, i) =>
    Math.floor(i / width) % chunks === scale ? weight.data[i % width] * (1 + value) : value,
  )
}

function qkNormParameters(p: (name: string) => NdArray, block: string) {
  return {
    qWeight: p(`${block}.attn.q_norm.weight`),
    qBias: p(`${block}.attn.q_norm.bias`),
    kWeight: p(`${block}.attn.k_norm.weight`),
    kBias: p(`${block}.attn.k_norm.bias`),
  }
}

function patchGrid(config: SiTConfig, x: NdArray) {
  const [, channels, height, width] = x.shape
  return { patch: config.patch, channels, height, width }
}
