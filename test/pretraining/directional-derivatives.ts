import { expect } from 'vitest'
import type { Model } from '../../src/models/model.ts'
import type { StateEntry } from '../../src/nn/parameter-list.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { fromValues, type NdArray, random } from '../reference/array.ts'
import { LAMBDA } from '../tensor/rounding.ts'

/** Step of the differences, in float64: their error is of its fourth power, and of 1e-16 over it. */
const STEP = 1e-3

/** A matrix where a product reads one; of a parameter that several entries share, what is this one's. */
function shapeOf({ shape, parameter }: StateEntry): readonly number[] {
  return elementCount(shape) === elementCount(parameter.shape) ? parameter.shape : shape
}

async function valuesOf(model: Model, role: 'weights' | 'gradients', entry: StateEntry): Promise<Float32Array> {
  using view = model.arena.view(role, entry)
  return toFloat32(await view.toHost())
}

/** A model's weights as float64. */
export async function weightsOf(model: Model): Promise<Map<string, NdArray>> {
  const weights = new Map<string, NdArray>()
  for (const entry of model.entries)
    weights.set(entry.name, fromValues(shapeOf(entry), await valuesOf(model, 'weights', entry)))
  return weights
}

/** Random values in place of a model's first ones: zeros and ones would hide much. Deep models want smaller ones, or rounding grows. */
export function scatterWeights(model: Model, scale = 0.3): void {
  model.entries.forEach((entry, i) => {
    if (!entry.parameter.trainable) return
    const isGain = entry.name.endsWith('.weight') && entry.shape.length === 1
    const { data } = random(shapeOf(entry), 100 + i, scale)
    using view = model.arena.view('weights', entry)
    view.write(Float32Array.from(data, (value) => value + (isGain ? 1 : 0)))
  })
}

/**
 * Compares every trainable parameter's gradient with differences of a float64 reference, along a random direction. `roundings`: of any
 * element, forwards and back; `step`: of the differences, smaller where the loss is curved more.
 */
export async function expectDerivatives(
  model: Model,
  loss: (weights: ReadonlyMap<string, NdArray>) => number,
  roundings: number,
  step = STEP,
): Promise<void> {
  const weights = await weightsOf(model)
  for (const [i, entry] of model.entries.entries()) {
    const { name, parameter } = entry
    if (!parameter.trainable) {
      expect(parameter.gradient, name).toBeUndefined()
      continue
    }
    const gradient = await valuesOf(model, 'gradients', entry)
    const direction = random(shapeOf(entry), 500 + i)
    const value = weights.get(name)!
    const moved = (h: number) => {
      const data = value.data.map((element, k) => element + h * direction.data[k])
      return loss(new Map(weights).set(name, { shape: value.shape, data }))
    }
    const expected = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
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
