/**
 * Reverse-mode differentiation. An op of src/tensor/ops calls its native forward and, while a tape records, pushes how its
 * outputs' gradients become its inputs'. No graph compiler: the backward pass walks the list from its end.
 */
import { native } from '../native.ts'
import type { Parameter } from './parameter.ts'
import type { Recomputation } from './recomputation.ts'
import { adopt, collect, keep, scope, tensorsIn } from './scope.ts'
import { Tensor } from './tensor.ts'
import { WeightGradientQueue } from './weight-gradients.ts'

interface Node {
  /** Tensors that the op made: what it returned and what it saved. Freed once its backward has run. */
  readonly made: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  readonly backward: (gradients: Gradients) => void
  readonly section: number
}

let current: Tape | undefined

/** The tape that records, if the op must be recorded: if any of its inputs wants a gradient. An op names all that it has. */
export function recordingTape(...inputs: readonly (Tensor | undefined)[]): Tape | undefined {
  if (!current || !inputs.some((input) => input && current!.tracks(input))) return undefined
  current.uses(inputs)
  return current
}

/**
 * Runs a part of a forward pass, a block say, as a section of its own of the tape that records, if one does. Weight gradients that share
 * a launch are of one section, which bounds for how long what they read is held.
 */
export function tapeSection<R>(body: () => R): R {
  current?.beginSection()
  try {
    return body()
  } finally {
    current?.beginSection()
  }
}

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

export interface TapeOptions {
  readonly accumulate?: boolean
  readonly recompute?: Recomputation
  /**
   * Told by the backward pass of parameters whose gradients are in their memory, as what is enqueued from then on finds them: after each
   * section of those that only it and later ones use, and in the end of all others.
   */
  readonly onFinal?: (parameters: readonly Parameter[]) => void
}

/** Records the ops of a forward pass, and goes back through them once for the gradients. */
export class Tape implements Disposable {
  /** Add to the parameters' gradients instead of overwriting them: for all but the first of several accumulated passes. */
  readonly accumulates: boolean
  /** Ops ask it when they are recorded, and let what they can compute again be forgotten. */
  readonly recompute: Recomputation
  readonly #nodes: Node[] = []
  readonly #tracked = new Set<Tensor>()
  /** Everything that recording made and did not return. */
  readonly #owned = new Set<Tensor>()
  readonly #seeds: { tensor: Tensor; gradient: Tensor }[] = []
  readonly #onFinal: TapeOptions['onFinal']
  /** Parameters in the order in which ops have first named them, and how many nodes there were before. */
  readonly #firstUses = new Map<Parameter, number>()
  #section = 0

  constructor(options: TapeOptions = {}) {
    this.accumulates = options.accumulate ?? false
    this.recompute = options.recompute ?? 'none'
    this.#onFinal = options.onFinal
  }

  /** Wants the gradient of a tensor that is no parameter: backward() leaves it in the Gradients it returns. */
  watch(...tensors: Tensor[]): void {
    for (const tensor of tensors) this.#tracked.add(tensor)
  }

  tracks(tensor: Tensor): boolean {
    return this.#tracked.has(tensor) || tensor.parameter?.gradient !== undefined
  }

  /**
   * Runs a forward pass, recording it. What `body` returns (a tensor, or an array or plain object of them) belongs to the
   * caller; every other tensor made in it belongs to the tape, which frees it as the backward pass consumes it. Where `body` throws, the
   * tape is as it was before.
   */
  record<R>(body: () => R): R {
    const outer = current
    const [nodes, seeds] = [this.#nodes.length, this.#seeds.length]
    current = this
    try {
      const { result, made } = collect(body, true)
      for (const tensor of tensorsIn(result)) {
        if (made.delete(tensor)) adopt(tensor)
      }
      for (const tensor of made) this.#owned.add(tensor)
      return result
    } catch (error) {
      this.#cutBack(nodes, seeds)
      throw error
    } finally {
      current = outer
    }
  }

  /** Forgets what was recorded behind so many nodes and seeds, of tensors that are freed already. */
  #cutBack(nodes: number, seeds: number): void {
    for (const { outputs } of this.#nodes.splice(nodes)) this.#untrack(outputs)
    for (const { gradient } of this.#seeds.splice(seeds)) gradient.dispose()
    for (const [parameter, before] of this.#firstUses) if (before >= nodes) this.#firstUses.delete(parameter)
  }

  #untrack(tensors: readonly Tensor[]): void {
    for (const tensor of tensors) this.#tracked.delete(tensor)
  }

  /** Called for ops, before they push. */
  uses(inputs: readonly (Tensor | undefined)[]): void {
    if (!this.#onFinal) return
    for (const input of inputs) {
      const parameter = input?.parameter
      if (parameter?.gradient && !this.#firstUses.has(parameter)) this.#firstUses.set(parameter, this.#nodes.length)
    }
  }

  /** Called by ops: `outputs` are the op's results, `saved` what its backward needs besides. */
  push(
    outputs: readonly Tensor[],
    saved: readonly (Tensor | undefined)[],
    backward: (gradients: Gradients) => void,
  ): void {
    for (const output of outputs) this.#tracked.add(output)
    const made = [...outputs, ...saved.filter((tensor) => tensor !== undefined)]
    this.#nodes.push({ outputs, made, backward, section: this.#section })
  }

  /** What is recorded from here on is of another section than what was before (`tapeSection`). */
  beginSection(): void {
    this.#section++
  }

  /**
   * Called by losses: the gradient of the total with respect to one of the pass's tensors, of its shape and dtype. The tape owns it from
   * then on, and adds to it: two seeds need two tensors.
   *
   * @throws {Error} for a tensor that the tape does not know: every gradient would silently lack what comes of it
   * @throws {RangeError} where shape or dtype are others
   */
  seed(tensor: Tensor, gradient: Tensor): void {
    if (!this.tracks(tensor)) {
      throw new Error(
        `seed: the tape does not know this tensor of shape [${tensor.shape}]. Either no op has made it while the tape recorded of what ` +
          'wants a gradient, as none has made a view or an alias (the op reshape makes a tensor that is known); or backward has gone through ' +
          'the tape since: then record the forward pass again.',
      )
    }
    if (String(gradient.shape) !== String(tensor.shape)) {
      throw new RangeError(
        `seed: the gradient has shape [${gradient.shape}], the tensor [${tensor.shape}]; they were expected to be the same.`,
      )
    }
    if (gradient.dtype !== tensor.dtype) {
      throw new RangeError(
        `seed: the gradient is ${gradient.dtype}, the tensor ${tensor.dtype}; they were expected to be the same.`,
      )
    }
    this.#seeds.push({ tensor, gradient })
  }

  /**
   * Walks the tape back from the losses' gradients: parameters' gradients go to their memory (those that the pass does not
   * reach become zero), watched tensors' stay in the result, which the caller disposes. The tape is empty afterwards.
   *
   * @throws {Error} where no loss was recorded since the last time: every gradient would silently become zero
   */
  backward(parameters: Iterable<Parameter> = []): Gradients {
    if (this.#seeds.length === 0) {
      throw new Error(
        'backward: no loss was recorded since the last backward pass; record the forward pass again, with its loss.',
      )
    }
    const wanted = [...parameters]
    const gradients = new Gradients(this)
    try {
      for (const { tensor, gradient } of this.#seeds.splice(0)) {
        this.#owned.delete(gradient)
        gradients.add(tensor, gradient)
      }
      let section = this.#section
      while (this.#nodes.length > 0) {
        const node = this.#nodes.pop()!
        if (node.section !== section) {
          gradients.flushWeightGradients()
          this.#completeUsed(gradients)
        }
        section = node.section
        if (node.outputs.some((output) => gradients.has(output))) scope(() => node.backward(gradients))
        for (const output of node.outputs) gradients.take(output)
        gradients.releaseTaken()
        // All that uses them has been gone back through; what a gradient might still be given to would not be reached.
        this.#untrack(node.outputs)
        this.#free(node.made)
      }
      this.#free(this.#owned)
      gradients.finish(wanted)
      this.#onFinal?.(wanted.filter((parameter) => parameter.gradient && !gradients.isFinal(parameter)))
      return gradients
    } catch (error) {
      gradients.dispose()
      throw error
    }
  }

  /** Completes the parameters that nodes have used which have all been run, but for the one that was taken last. */
  #completeUsed(gradients: Gradients): void {
    if (!this.#onFinal) return
    const final = [...this.#firstUses]
      .filter(([, before]) => before > this.#nodes.length)
      .map(([parameter]) => parameter)
    if (final.length === 0) return
    for (const parameter of final) this.#firstUses.delete(parameter)
    gradients.complete(final)
    this.#onFinal(final)
  }

  /** Frees what no backward pass has consumed. */
  dispose(): void {
    this.#seeds.length = 0
    this.#nodes.length = 0
    this.#firstUses.clear()
    this.#free(this.#owned)
    this.#tracked.clear()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Frees those of the tensors that are the tape's. */
  #free(tensors: Iterable<Tensor>): void {
    for (const tensor of tensors) if (this.#owned.delete(tensor)) tensor.dispose()
  }
}
