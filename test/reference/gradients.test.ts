import { describe, test } from 'vitest'
import { gaussianDiffusion } from '../../src/diffusion/gaussian-diffusion.ts'
import { type Activation, activation, activationBackward, swiGlu, swiGluBackward } from './activation.ts'
import { map, type NdArray, random, randomIntegers } from './array.ts'
import { attention, attentionBackward } from './attention.ts'
import { attentionAlignment, attentionAlignmentBackward } from './attention-alignment.ts'
import {
  crossEntropy,
  crossEntropyBackward,
  dispersion,
  dispersionBackward,
  l2Normalize,
  l2NormalizeBackward,
  matchingLoss,
  matchingLossBackward,
} from './contrast.ts'
import { cosineAlignmentLoss, cosineAlignmentLossBackward } from './cosine-alignment-loss.ts'
import { distillationLoss, distillationLossBackward } from './distillation.ts'
import { embedding, embeddingBackward } from './embedding.ts'
import { gatedResidual, gatedResidualBackward, layerScale, layerScaleBackward } from './gated-residual.ts'
import { checkGradients, type DifferentiableOp } from './gradient-check.ts'
import { hybridLoss, hybridLossBackward } from './hybrid-loss.ts'
import { joinTokens, splitTokens } from './joined-tokens.ts'
import { layerNorm, layerNormBackward, layerNormModulate, layerNormModulateBackward } from './layer-norm.ts'
import { linear, linearBackward } from './linear.ts'
import { patchEmbed, patchEmbedBackward } from './patch-embed.ts'
import { unpatchify, unpatchifyInverse } from './patches.ts'
import { qkNorm, qkNormBackward, qkRmsNorm, qkRmsNormBackward } from './qk-norm.ts'
import { normFactors, normFactorsBackward, rmsNormModulate, rmsNormModulateBackward } from './rms-norm.ts'
import { rotate, rotateBackward } from './rope.ts'
import { smoothL1, smoothL1Backward } from './smooth-l1.ts'
import { unfoldTokens, unfoldTokensBackward } from './token-grid.ts'
import { velocityCosine, velocityCosineBackward } from './velocity-cosine.ts'
import { velocityLoss, velocityLossBackward } from './velocity-loss.ts'

const ACTIVATIONS: Activation[] = ['none', 'gelu-tanh', 'gelu-erf', 'quick-gelu', 'silu']

/** Of two attentions that are compared. */
const OWN = { heads: 3, width: 2 }
const TEACHERS = { heads: 2, width: 4 }

/** Any weights do, also ones that are no distributions. */
const TARGETS = map(random([2, 2, 5], 2), Math.abs)

const cases: [string, DifferentiableOp][] = [
  ...ACTIVATIONS.map((kind): [string, DifferentiableOp] => [
    `activation ${kind}`,
    {
      inputs: { x: random([3, 7], 1, 4) },
      forward: ({ x }) => activation(x, kind),
      backward: (dy, { x }) => ({ x: activationBackward(dy, x, kind) }),
    },
  ]),
  ...ACTIVATIONS.map((kind): [string, DifferentiableOp] => [
    `linear ${kind}`,
    {
      inputs: { x: random([2, 3, 5], 1, 2), weight: random([4, 5], 2), bias: random([4], 3) },
      forward: ({ x, weight, bias }) => linear(x, weight, bias, kind),
      backward: (dy, { x, weight, bias }) => {
        const { dx, dWeight, dBias } = linearBackward(dy, x, weight, bias, kind)
        return { x: dx, weight: dWeight, bias: dBias }
      },
    },
  ]),
  [
    'swiGlu',
    {
      inputs: { x12: random([3, 10], 1, 3) },
      forward: ({ x12 }) => swiGlu(x12),
      backward: (dy, { x12 }) => ({ x12: swiGluBackward(dy, x12) }),
    },
  ],
  ...[
    [1, 1, 1, 1],
    [2, 3, 2, 5],
    [1, 5, 3, 4],
  ].map(([batch, tokens, heads, width]): [string, DifferentiableOp] => [
    `attention ${batch}x${tokens}x${heads}x${width}`,
    {
      inputs: { qkv: random([batch, tokens, 3, heads, width], 1, 2) },
      forward: ({ qkv }) => attention(qkv).o,
      backward: (dO, { qkv }) => ({ qkv: attentionBackward(dO, qkv) }),
    },
  ]),
  [
    'qkNorm',
    {
      inputs: {
        qkv: random([2, 3, 3, 2, 6], 1, 2),
        qWeight: random([6], 2),
        qBias: random([6], 3),
        kWeight: random([6], 4),
        kBias: random([6], 5),
      },
      forward: ({ qkv, qWeight, qBias, kWeight, kBias }) => qkNorm(qkv, { qWeight, qBias, kWeight, kBias }),
      backward: (dy, { qkv, qWeight, qBias, kWeight, kBias }) => {
        const d = qkNormBackward(dy, qkv, { qWeight, qBias, kWeight, kBias })
        return { qkv: d.dQkv, qWeight: d.dqWeight, qBias: d.dqBias, kWeight: d.dkWeight, kBias: d.dkBias }
      },
    },
  ],
  [
    'layerNorm',
    {
      inputs: { x: random([2, 3, 7], 1, 3), weight: random([7], 2), bias: random([7], 3) },
      forward: ({ x, weight, bias }) => layerNorm(x, weight, bias, 1e-6),
      backward: (dy, { x, weight }) => {
        const { dx, dWeight, dBias } = layerNormBackward(dy, x, weight, 1e-6)
        return { x: dx, weight: dWeight, bias: dBias }
      },
    },
  ],
  [
    'layerNormModulate',
    {
      inputs: { x: random([2, 3, 8], 1, 3), modulation: random([2, 6, 8], 2) },
      forward: ({ x, modulation }) => layerNormModulate(x, modulation, { shift: 3, scale: 4 }),
      backward: (dy, { x, modulation }) => {
        const { dx, dModulation } = layerNormModulateBackward(dy, x, modulation, { shift: 3, scale: 4 })
        return { x: dx, modulation: dModulation }
      },
    },
  ],
  [
    'qkRmsNorm',
    {
      inputs: { qkv: random([2, 3, 3, 2, 6], 1, 2), qWeight: random([6], 2), kWeight: random([6], 4) },
      forward: ({ qkv, qWeight, kWeight }) => qkRmsNorm(qkv, { qWeight, kWeight }),
      backward: (dy, { qkv, qWeight, kWeight }) => {
        const d = qkRmsNormBackward(dy, qkv, { qWeight, kWeight })
        return { qkv: d.dQkv, qWeight: d.dqWeight, kWeight: d.dkWeight }
      },
    },
  ],
  [
    'rmsNormModulate',
    {
      inputs: { x: random([2, 3, 8], 1, 3), modulation: random([2, 6, 8], 2) },
      forward: ({ x, modulation }) => rmsNormModulate(x, modulation, { shift: 3, scale: 4 }),
      backward: (dy, { x, modulation }) => {
        const { dx, dModulation } = rmsNormModulateBackward(dy, x, modulation, { shift: 3, scale: 4 })
        return { x: dx, modulation: dModulation }
      },
    },
  ],
  [
    'normFactors',
    {
      inputs: { modulation: random([2, 8, 5], 1), weights: random([3, 5], 2) },
      forward: ({ modulation, weights }) => normFactors(modulation, weights),
      backward: (dy, { modulation, weights }) => {
        const { dModulation, dWeights } = normFactorsBackward(dy, modulation, weights)
        return { modulation: dModulation, weights: dWeights }
      },
    },
  ],
  [
    'rotate',
    {
      inputs: { qkv: random([2, 3, 3 * 2 * 6], 1) },
      forward: ({ qkv }) => rotate(qkv, random([3, 6], 2), random([3, 6], 3), 2),
      backward: (dy) => ({ qkv: rotateBackward(dy, random([3, 6], 2), random([3, 6], 3), 2) }),
    },
  ],
  [
    'gatedResidual',
    {
      inputs: { x: random([2, 3, 5], 1), y: random([2, 3, 5], 2), modulation: random([2, 6, 5], 3) },
      forward: ({ x, y, modulation }) => gatedResidual(x, y, modulation, 2),
      backward: (dOut, { y, modulation }) => {
        const { dx, dy, dModulation } = gatedResidualBackward(dOut, y, modulation, 2)
        return { x: dx, y: dy, modulation: dModulation }
      },
    },
  ],
  [
    'layerScale',
    {
      inputs: { x: random([2, 3, 5], 1), y: random([2, 3, 5], 2), gamma: random([5], 3) },
      forward: ({ x, y, gamma }) => layerScale(x, y, gamma),
      backward: (dOut, { y, gamma }) => {
        const { dx, dy, dGamma } = layerScaleBackward(dOut, y, gamma)
        return { x: dx, y: dy, gamma: dGamma }
      },
    },
  ],
  embeddingCase([0, 4, 0, 2, 4, 4], 5),
  embeddingCase(randomIntegers(9, 3, 1), 3),
  ...[1, 2, 3].map((patch): [string, DifferentiableOp] => [
    `patchEmbed patch ${patch}`,
    {
      inputs: {
        x: random([2, 3, 2 * patch, 3 * patch], 1),
        weight: random([5, 3, patch, patch], 2),
        bias: random([5], 3),
      },
      forward: ({ x, weight, bias }) => patchEmbed(x, weight, bias, random([6, 5], 4)),
      backward: (dy, { x, weight }) => {
        const { dx, dWeight, dBias } = patchEmbedBackward(dy, x, weight)
        return { x: dx, weight: dWeight, bias: dBias }
      },
    },
  ]),
  ...[1, 2, 3].map((patch): [string, DifferentiableOp] => {
    const grid = { patch, channels: 3, height: 2 * patch, width: 3 * patch }
    return [
      `unpatchify patch ${patch}`,
      {
        inputs: { tokens: random([2, 6, patch * patch * 3], 1) },
        forward: ({ tokens }) => unpatchify(tokens, grid),
        backward: (dy) => ({ tokens: unpatchifyInverse(dy, grid) }),
      },
    ]
  }),
  ...(
    [
      ['epsilon', [0, 0, 0]],
      ['epsilon', [1, 60, 999]],
      // Not at step 0, where the deviation is a hundredth of x_0's range and the differences' step a tenth of that.
      ['x-start', [1, 60, 999]],
    ] as const
  ).map(([predicts, t]): [string, DifferentiableOp] => {
    // At step 0 near the data, where the likelihood is not clamped; one value beyond either edge of the grey levels.
    const noise = random([3, 2, 2], 2, t[0] === 0 ? 0.05 : 1)
    const x0 = random([3, 2, 2], 3)
    x0.data.set([1, -1])
    const weights = { mse: 0.7, vb: 1.3, throughMean: true }
    const inputs = (prediction: NdArray) => ({ prediction, noise, x0, t, predicts })
    const diffusion = gaussianDiffusion()
    return [
      `hybridLoss of ${predicts} at the steps ${t}`,
      {
        inputs: { prediction: random([3, 4, 2], 1) },
        forward: ({ prediction }) => {
          const { mse, vb } = hybridLoss(inputs(prediction), diffusion)
          const meanOf = (loss: NdArray) => loss.data.reduce((a, b) => a + b, 0) / t.length
          return scalar(weights.mse * meanOf(mse) + weights.vb * meanOf(vb))
        },
        backward: (dLoss, { prediction }) => {
          const gradient = hybridLossBackward(inputs(prediction), diffusion, weights)
          return { prediction: { ...gradient, data: gradient.data.map((value) => value * dLoss.data[0]) } }
        },
      },
    ]
  }),
  [
    'velocityLoss',
    {
      inputs: { prediction: random([3, 2, 2, 2], 1, 2) },
      forward: ({ prediction }) => scalar(velocityLoss(prediction, random([3, 2, 2, 2], 2)).loss),
      backward: (dLoss, { prediction }) => ({
        prediction: velocityLossBackward(prediction, random([3, 2, 2, 2], 2), dLoss.data[0]),
      }),
    },
  ],
  [
    'crossEntropy',
    {
      inputs: { logits: random([4, 4], 1, 2) },
      forward: ({ logits }) => crossEntropy(logits, 0.7),
      backward: (dLoss, { logits }) => ({ logits: crossEntropyBackward(dLoss, logits, 0.7) }),
    },
  ],
  [
    'l2Normalize',
    {
      inputs: { x: random([3, 5], 1, 2) },
      forward: ({ x }) => l2Normalize(x),
      backward: (dUnit, { x }) => ({ x: l2NormalizeBackward(dUnit, x) }),
    },
  ],
  [
    'matchingLoss',
    {
      inputs: { z: random([5, 3], 1, 2) },
      forward: ({ z }) => {
        const losses = matchingLoss(z, random([5, 3], 2), 3, 0.5)
        return scalar(losses.data.reduce((sum, loss) => sum + loss, 0) / 5)
      },
      backward: (dLoss, { z }) => ({ z: matchingLossBackward(dLoss.data[0], z, random([5, 3], 2), 3, 0.5) }),
    },
  ],
  [
    'dispersion',
    {
      inputs: { x: random([4, 6], 1) },
      forward: ({ x }) => scalar(dispersion(x, 0.5)),
      backward: (dLoss, { x }) => ({ x: dispersionBackward(dLoss.data[0], x, 0.5) }),
    },
  ],
  [
    'distillationLoss',
    {
      inputs: { student: random([3, 2, 5], 1) },
      forward: ({ student }) => distillationLoss(student, TARGETS, { temperature: 0.5, firstView: 1 }),
      backward: (dLoss, { student }) => ({
        student: distillationLossBackward(dLoss, student, TARGETS, { temperature: 0.5, firstView: 1 }),
      }),
    },
  ],
  [
    'velocityCosine',
    {
      inputs: { prediction: random([3, 4, 5], 1) },
      forward: ({ prediction }) => {
        const losses = velocityCosine(prediction, random([3, 4, 5], 2))
        return scalar(losses.data.reduce((a, b) => a + b, 0) / 3)
      },
      backward: (dLoss, { prediction }) => ({
        prediction: velocityCosineBackward(prediction, random([3, 4, 5], 2), dLoss.data[0]),
      }),
    },
  ],
  [
    'attentionAlignment',
    {
      inputs: { qkv: random([2, 4, 18], 1) },
      forward: ({ qkv }) => {
        const losses = attentionAlignment(qkv, OWN, random([2, 5, 24], 2), TEACHERS, 2)
        return scalar(losses.data.reduce((a, b) => a + b, 0) / 2)
      },
      backward: (dLoss, { qkv }) => ({
        qkv: attentionAlignmentBackward(qkv, OWN, random([2, 5, 24], 2), TEACHERS, 2, dLoss.data[0]),
      }),
    },
  ],
  [
    'smoothL1',
    {
      inputs: { prediction: random([3, 5], 1, 0.2) },
      forward: ({ prediction }) => {
        const losses = smoothL1(prediction, random([3, 5], 2, 0.2), 0.05)
        return scalar(losses.data.reduce((sum, loss) => sum + loss, 0) / 3)
      },
      backward: (dLoss, { prediction }) => ({
        prediction: smoothL1Backward(dLoss.data[0], prediction, random([3, 5], 2, 0.2), 0.05),
      }),
    },
  ],
  [
    'joinTokens',
    {
      inputs: { first: random([2, 2, 3], 1), rest: random([2, 4, 3], 2) },
      forward: ({ first, rest }) => joinTokens(first, rest),
      backward: (dOut) => {
        const [first, rest] = splitTokens(dOut, 2)
        return { first, rest }
      },
    },
  ],
  [
    'unfoldTokens',
    {
      inputs: { x: random([2, 6, 3], 1) },
      forward: ({ x }) => unfoldTokens(x, [2, 3]),
      backward: (dOut) => ({ x: unfoldTokensBackward(dOut, [2, 3]) }),
    },
  ],
  [
    'cosineAlignmentLoss',
    {
      inputs: { z: random([2, 3, 5], 1, 2) },
      forward: ({ z }) => scalar(cosineAlignmentLoss(z, random([2, 3, 5], 2))),
      backward: (dLoss, { z }) => ({ z: cosineAlignmentLossBackward(z, random([2, 3, 5], 2), dLoss.data[0]) }),
    },
  ],
]

function embeddingCase(labels: number[], entries: number): [string, DifferentiableOp] {
  return [
    `embedding of [${labels}]`,
    {
      inputs: { table: random([entries, 3], 1) },
      forward: ({ table }) => embedding(labels, table),
      backward: (dy) => ({ table: embeddingBackward(dy, labels, entries) }),
    },
  ]
}

function scalar(value: number): NdArray {
  return { shape: [], data: Float64Array.of(value) }
}

describe('analytic gradients agree with finite differences', () => {
  test.each(cases)('%s', (_, op) => {
    for (const seed of [1, 2]) checkGradients(op, seed)
  })
})
