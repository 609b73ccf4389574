import { expect } from 'vitest'
import type { Model } from '../../src/models/model.ts'
import { fromValues, type NdArray, random } from '../reference/array.ts'
import { LAMBDA } from '../tensor/rounding.ts'

/** Step of the differences, in float64: their error is of its fourth power. */
const STEP = 1e-3

/** A model's weights as float64, a matrix where a product reads one. */
export async function weightsOf(model: Model): Promise<Map<string, NdArray>> {
  const weights = new Map<string, NdArray>()
  for (const { name, parameter } of model.entries) {
    weights.set(name, fromValues(parameter.shape, await parameter.value.data()))
  }
  return weights
}

/** Random values in place of a model's first ones: zeros and ones would hide much. */
export function scatterWeights(model: Model): void {
  model.entries.forEach(({ name, parameter }, i) => {
    if (!parameter.trainable) return
    const isGain = name.endsWith('.weight') && parameter.shape.length === 1
    const { data } = random(parameter.shape, 100 + i, 0.3)
    parameter.value.write(Float32Array.from(data, (value) => value + (isGain ? 1 : 0)))
  })
}

/**
 * Compares every trainable parameter's gradient with differences of a float64 reference, along a random direction. `roundings`: of any
 * element, forwards and back.
 */
export async function expectDerivatives(
  model: Model,
  loss: (weights: ReadonlyMap<string, NdArray>) => number,
  roundings: number,
): Promise<void> {
  const weights = await weightsOf(model)
  for (const [i, { name, parameter }] of model.entries.entries()) {
    if (!parameter.trainable) {
      expect(parameter.gradient, name).toBeUndefined()
      continue
    }
    const gradient = await parameter.gradient!.data()
    const direction = random(parameter.shape, 500 + i)
    const value = weights.get(name)!
    const moved = (h: number) => {
      const data = value.data.map((element, k) => element + h * direction.data[k])
      return loss(new Map(weights).set(name, { shape: value.shape, data }))
    }
    const expected = (8 * (moved(STEP) - moved(-STEP)) - (moved(2 * STEP) - moved(-2 * STEP))) / (12 * STEP)
    let [along, squares] = [0, 0]
    gradient.forEach((element, k) => {
      along += element * direction.data[k]
      squares += (element * direction.data[k]) ** 2
    })
    const bound = LAMBDA * Math.sqrt(roundings) * 2 ** -24 * Math.sqrt(squares)
    expect(squares, `${name} has a gradient`).toBeGreaterThan(0)
    expect(Math.abs(along - expected), `${name}: ${along} along the direction, not ${expected}`).toBeLessThan(bound)
  }
}
