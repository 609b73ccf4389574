/**
 * Reverse-mode differentiation. An op of src/tensor/ops calls its native forward and, while a tape records, pushes how its
 * outputs' gradients become its inputs'. No graph compiler: the backward pass walks the list from its end.
 */
import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { Gradients } from './gradients.ts'
import type { Parameter, ParameterMemory } from './parameter.ts'
import { RECOMPUTATIONS, type Recomputation } from './recomputation.ts'
import { adopt, collect, scope, tensorsIn } from './scope.ts'
import type { Tensor } from './tensor.ts'

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

export interface TapeOptions {
  readonly accumulate?: boolean
  readonly recompute?: Recomputation
  /**
   * Told by the backward pass of parameters whose gradients are in their memory, as what is enqueued from then on finds them: after each
   * section of those that only it and later ones use, and in the end of all others.
   */
  readonly onFinal?: (parameters: readonly Parameter[]) => void
}

/** The schemas of `TapeOptions`. */
export const tapeOptions = () =>
  ({
    accumulate: z.boolean().optional(),
    recompute: z.enum(RECOMPUTATIONS).optional(),
    onFinal: aFunction().optional(),
  }) satisfies Record<keyof TapeOptions, z.ZodType>

const optionsSchema = whenNeeded(() => z.strictObject(tapeOptions()))

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
  /** Which values a memory had when the first of its parameters was read, which that was, and how many nodes there were before. */
  readonly #read = new Map<
    ParameterMemory,
    { readonly version: string; readonly first: string; readonly before: number }
  >()
  #section = 0

  /** @throws {ConfigurationError} naming every option that is wrong */
  constructor(options: TapeOptions = {}) {
    parseConfiguration(optionsSchema(), options, "the tape's options")
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
    for (const [memory, { before }] of this.#read) if (before >= nodes) this.#read.delete(memory)
  }

  #untrack(tensors: readonly Tensor[]): void {
    for (const tensor of tensors) this.#tracked.delete(tensor)
  }

  /** Called for ops, before they push. */
  uses(inputs: readonly (Tensor | undefined)[]): void {
    for (const input of inputs) {
      const parameter = input?.parameter
      if (!parameter) continue
      const { memory, name, gradient } = parameter
      const before = this.#nodes.length
      if (memory && !this.#read.has(memory)) this.#read.set(memory, { version: memory.version, first: name, before })
      if (this.#onFinal && gradient && !this.#firstUses.has(parameter)) this.#firstUses.set(parameter, before)
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
   * @throws {Error} where no loss was recorded since the last time: every gradient would silently become zero; and where parameters are others
   *   than those that the forward pass has read: it would be of neither
   */
  backward(parameters: Iterable<Parameter> = []): Gradients {
    if (this.#seeds.length === 0) {
      throw new Error(
        'backward: no loss was recorded since the last backward pass; record the forward pass again, with its loss.',
      )
    }
    this.#requireSameParameters()
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

  #requireSameParameters(): void {
    for (const [memory, { version, first }] of this.#read) {
      if (memory.version === version) continue
      throw new Error(
        `backward: ${first} and the parameters with it are others than the forward pass has read (those were ${version}; these are ` +
          `${memory.version}): a step, a load, computeIn or arena.use has come between, and the gradient would be of neither. Record the ` +
          'forward pass again, on another tape.',
      )
    }
    this.#read.clear()
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
    this.#read.clear()
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
