import type { NativeAddon } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import type { Planner } from '../planner.ts'

/** Element by element, lookups and embeddings, and the interpolants that a batch is noised by. */
export const elementwiseRules = (planner: Planner) =>
  ({
    activation: (x) => planner.like(x),
    activationBackward: (_dOut, x) => planner.like(x),
    swiGLU: (x) => planner.like(x, [...plannedOf(x).shape.slice(0, -1), plannedOf(x).size(-1) / 2]),
    swiGLUBackward: (_dOut, x) => planner.like(x),
    add: (a) => planner.like(a),
    scale: (x) => planner.like(x),
    clamp: (x) => planner.like(x),
    accumulate: () => {},
    fourierFeatures: (t, frequencies) =>
      planner.like(t, [plannedOf(t).size(0), 2 * plannedOf(frequencies).size(0)], 'f32'),
    timestepEmbedding: (t, dim) => planner.like(t, [plannedOf(t).size(0), dim], 'f32'),
    embedding: (table, ids) => planner.like(table, [plannedOf(ids).size(0), plannedOf(table).size(1)]),
    embeddingBackward: () => {},
    interpolant: (x) => [planner.like(x), planner.like(x)],
    samplePosterior: (_moments, noise) => planner.like(noise),
    posteriorMoments: (parameters) => planner.like(parameters),
    standardize: (x) => planner.like(x),
    combineSamples: (x) => planner.like(x),
    resizeChannels: (x, channels) => {
      const [batch, , ...rest] = plannedOf(x).shape
      return planner.like(x, [batch!, channels, ...rest])
    },
  }) satisfies Partial<NativeAddon>
