import { type NdArray, random, zeros } from './array.ts'

export type Inputs = Readonly<Record<string, NdArray>>

/** An op seen as a function of named arrays, with its analytic gradients. */
export interface DifferentiableOp {
  readonly inputs: Inputs
  readonly forward: (inputs: Inputs) => NdArray
  /** Gradients by the input's name, given that of the output. Inputs that are left out are not differentiated. */
  readonly backward: (dy: NdArray, inputs: Inputs) => Inputs
}

const STEP = 1e-3
const DIRECTIONS = 3
const COORDINATES = 6

/**
 * Holds the analytic gradients of L = <w, op(inputs)>, w random, against finite differences along random directions of
 * each input and along single coordinates. The five-point stencil errs by STEP^4 L⁽⁵⁾ / 30 ~ 3e-14 L⁽⁵⁾ and by
 * rounding ~ 1.5 eps |L| / STEP ~ 3e-13 |L|; 1e-8 of the derivative's own scale leaves room for steep functions and
 * shows any wrong term.
 *
 * @throws {Error} naming the input and both values.
 */
export function checkGradients(op: DifferentiableOp, seed = 1): void {
  const y = op.forward(op.inputs)
  const w = random(y.shape, seed + 101)
  const gradients = op.backward(w, op.inputs)
  for (const [name, gradient] of Object.entries(gradients)) {
    const input = op.inputs[name]
    if (`${gradient.shape}` !== `${input.shape}`) {
      throw new Error(`The gradient of ${name} has the shape [${gradient.shape}], the input [${input.shape}].`)
    }
    for (let i = 0; i < DIRECTIONS; i++) check(name, random(input.shape, seed + 7 * i), 'along a random direction')
    const stride = Math.max(1, Math.floor(input.data.length / COORDINATES))
    for (let element = (seed * 5) % stride; element < input.data.length; element += stride) {
      const direction = zeros(input.shape)
      direction.data[element] = 1
      check(name, direction, `of element ${element}`)
    }

    function check(checked: string, direction: NdArray, what: string): void {
      const objective = (h: number) => {
        const moved = { shape: input.shape, data: input.data.map((value, i) => value + h * direction.data[i]) }
        return dot(w, op.forward({ ...op.inputs, [checked]: moved }))
      }
      const differences =
        (8 * (objective(STEP) - objective(-STEP)) - (objective(2 * STEP) - objective(-2 * STEP))) / (12 * STEP)
      const analytic = dot(gradient, direction)
      const scale = 1 + Math.sqrt(dot(gradient, gradient) * dot(direction, direction))
      if (!(Math.abs(analytic - differences) <= 1e-8 * scale)) {
        throw new Error(`The derivative by ${checked} ${what} is ${analytic}; differences give ${differences}.`)
      }
    }
  }
}

function dot(a: NdArray, b: NdArray): number {
  let total = 0
  for (let i = 0; i < a.data.length; i++) total += a.data[i] * b.data[i]
  return total
}
