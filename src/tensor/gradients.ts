import { native } from '../native.ts'
import type { Parameter } from './parameter.ts'
import { keep } from './scope.ts'
import type { Tape } from './tape.ts'
import { Tensor } from './tensor.ts'
import { WeightGradientQueue } from './weight-gradients.ts'

/** The gradients of one backward pass, by the tensor they belong to. */
export class Gradients {
  readonly #tape: Tape
  readonly #byTensor = new Map<Tensor, Tensor>()
  readonly #written = new Set<Parameter>()
  /** To whose gradients nothing more may be added. */
  readonly #final = new Set<Parameter>()
  readonly #chunks = new Map<Tensor, Set<number>>()
  readonly #weightGradients = new WeightGradientQueue()
  #taken: Tensor[] = []

  constructor(tape: Tape) {
    this.#tape = tape
  }

  /** Whether anything above will use this tensor's gradient. */
  wants(tensor: Tensor): boolean {
    return this.#tape.tracks(tensor)
  }

  has(tensor: Tensor): boolean {
    return this.#byTensor.has(tensor)
  }

  /** The gradient so far, or undefined; it stays with the tensor. */
  get(tensor: Tensor): Tensor | undefined {
    return this.#settled(this.#byTensor.get(tensor))
  }

  /** Takes the gradient so far away from the tensor; it lives until the end of the op's backward. */
  take(tensor: Tensor): Tensor | undefined {
    const gradient = this.get(tensor)
    if (!gradient) return undefined
    this.#byTensor.delete(tensor)
    this.#taken.push(gradient)
    return gradient
  }

  /** Takes the gradient so far, as a tensor that nobody else reads any more: an op may write it in place and pass it on. */
  takeToWrite(tensor: Tensor): Tensor | undefined {
    const gradient = this.take(tensor)
    if (!gradient || !native().sharesStorage(gradient.handle)) return gradient?.alias()
    const copy = Tensor.empty(gradient.shape, gradient.device, gradient.dtype)
    native().copy(copy.handle, gradient.handle)
    return copy
  }

  /** Adds to a tensor's gradient and becomes the owner of `gradient`. */
  add(tensor: Tensor, gradient: Tensor): void {
    const before = this.get(tensor)
    if (this.wants(tensor) && !before) {
      this.#byTensor.set(tensor, keep(gradient))
      return
    }
    if (before && native().sharesStorage(before.handle)) {
      this.#byTensor.set(tensor, keep(new Tensor(native().add(before.handle, gradient.handle), tensor.device)))
      before.dispose()
    } else if (before) {
      native().accumulate(before.handle, gradient.handle)
    }
    gradient.dispose()
  }

  /** Where a kernel writes a parameter's gradient, and whether it must add to what is there. */
  into(tensor: Tensor): { into: Tensor; accumulate: boolean } {
    const parameter = tensor.parameter
    if (parameter?.gradient) {
      if (this.#final.has(parameter)) {
        throw new Error(
          `backward: an op adds to the gradient of ${parameter.name}, which was final; when it was recorded, it did not name the parameter ` +
            'among its inputs.',
        )
      }
      const accumulate = this.#tape.accumulates || this.#written.has(parameter)
      this.#written.add(parameter)
      return { into: this.#settled(parameter.gradient), accumulate }
    }
    const before = this.get(tensor)
    if (before && !native().sharesStorage(before.handle)) return { into: before, accumulate: true }
    const fresh = keep(Tensor.empty(tensor.shape, tensor.device))
    this.#byTensor.set(tensor, fresh)
    if (!before) return { into: fresh, accumulate: false }
    native().copy(fresh.handle, before.handle)
    before.dispose()
    return { into: fresh, accumulate: true }
  }

  /** `into` for a kernel that adds to all of its parameters' gradients or to none: where one is added to, the rest start at zero. */
  intoAll(...tensors: Tensor[]): { into: Tensor[]; accumulate: boolean } {
    const slots = tensors.map((tensor) => this.into(tensor))
    const accumulate = slots.some((slot) => slot.accumulate)
    for (const slot of slots) if (accumulate && !slot.accumulate) native().fill(slot.into.handle, 0)
    return { into: slots.map(({ into }) => into), accumulate }
  }

  /** Adds dOutᵀ input to the gradient of a linear layer's weight [out, in]; `dOut` [..., out] and `input` [..., in] stay the caller's. */
  addWeightGradient(weight: Tensor, dOut: Tensor, input: Tensor): void {
    this.#weightGradients.add({ dOut, input, ...this.into(weight) })
  }

  /** Enqueues the weight gradients that wait for others to share a launch with. */
  flushWeightGradients(): void {
    this.#weightGradients.flush()
  }

  /** A gradient with all that was added to it. */
  #settled<G extends Tensor | undefined>(gradient: G): G {
    if (gradient && this.#weightGradients.awaits(gradient)) this.#weightGradients.flush()
    return gradient
  }

  /**
   * The gradient of a modulation tensor [B, chunks, D], to which each op writes its own chunks: zeros until then. Throws where
   * an op of this pass has written one of them, for that gradient would be overwritten.
   */
  chunks(modulation: Tensor, ...chunks: readonly number[]): Tensor {
    const written = this.#chunks.get(modulation) ?? new Set()
    const twice = chunks.find((chunk) => written.has(chunk))
    if (twice !== undefined || (!this.#chunks.has(modulation) && this.#byTensor.has(modulation))) {
      throw new Error(
        `backward: ${twice === undefined ? 'the whole' : `chunk ${twice}`} of a modulation [${modulation.shape}] has a gradient ` +
          'from another op already; a chunk may be used once in a pass.',
      )
    }
    for (const chunk of chunks) written.add(chunk)
    this.#chunks.set(modulation, written)
    let buffer = this.#byTensor.get(modulation)
    if (!buffer) {
      buffer = keep(Tensor.zeros(modulation.shape, modulation.device))
      this.#byTensor.set(modulation, buffer)
    }
    return buffer
  }

  /** Frees what take() gave out. */
  releaseTaken(): void {
    for (const gradient of this.#taken) gradient.dispose()
    this.#taken = []
  }

  /** Brings to parameters' memory what came as a tensor's gradient, and zeroes the parameters that the pass has not reached. */
  finish(parameters: Iterable<Parameter>): void {
    this.flushWeightGradients()
    this.#bring(() => true)
    this.#zeroUnreached(parameters)
  }

  /** Does the same for some of the parameters before the pass is through, those that no op is left for. */
  complete(parameters: readonly Parameter[]): void {
    this.flushWeightGradients()
    const completed = new Set(parameters)
    this.#bring((parameter) => completed.has(parameter))
    this.#zeroUnreached(parameters)
    for (const parameter of parameters) this.#final.add(parameter)
  }

  /** Whether a parameter's gradient was completed. */
  isFinal(parameter: Parameter): boolean {
    return this.#final.has(parameter)
  }

  #bring(isWanted: (parameter: Parameter) => boolean): void {
    for (const [tensor, gradient] of this.#byTensor) {
      if (!tensor.parameter?.gradient || !isWanted(tensor.parameter)) continue
      const { into, accumulate } = this.into(tensor)
      if (accumulate) native().accumulate(into.handle, gradient.handle)
      else native().copy(into.handle, gradient.handle)
      this.#byTensor.delete(tensor)
      gradient.dispose()
    }
  }

  #zeroUnreached(parameters: Iterable<Parameter>): void {
    if (this.#tape.accumulates) return
    for (const parameter of parameters) {
      if (parameter.gradient && !this.#written.has(parameter) && !this.#final.has(parameter)) {
        native().fill(parameter.gradient.handle, 0)
      }
    }
  }

  /** Frees every gradient that is left. */
  dispose(): void {
    this.#weightGradients.dispose()
    this.releaseTaken()
    for (const gradient of this.#byTensor.values()) gradient.dispose()
    this.#byTensor.clear()
  }
}
