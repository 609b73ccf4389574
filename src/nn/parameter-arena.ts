import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { type ComputeDType, elementCount } from '../tensor/dtype.ts'
import { Meanwhile } from '../tensor/meanwhile.ts'
import { cast } from '../tensor/ops/cast.ts'
import type { Parameter, ParameterMemory } from '../tensor/parameter.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { StateEntry } from './parameter-list.ts'

/** Arrays of an arena: the weights; the gradients and moments of training; the exponential moving average. */
export type ArenaRole = 'weights' | 'gradients' | 'firstMoments' | 'secondMoments' | 'ema'

let changes = 0

/**
 * How often the memory that steps read has become another's or another: an arena's copy in a narrower dtype, all that it has, what was made of
 * weights and kept. A graph that was captured before may read and write what is another's by now, or not what it should.
 */
export function memoryChanges(): number {
  return changes
}

/** For what else keeps memory that steps read. */
export function countMemoryChange(): void {
  changes++
}

/** Floats to which every parameter's begin is aligned: 64 bytes. */
const ALIGNMENT = 16

/**
 * The memory of a model's parameters: one flat array per role, all in the same order, so that the optimizer is one pass and a
 * checkpoint one sweep. Parameters are views into it; the gaps between them stay zero.
 */
export class ParameterArena implements ParameterMemory {
  readonly device: Device
  readonly parameters: readonly Parameter[]
  /** Floats of each array, gaps included. */
  readonly size: number
  /** Begin and end, in pairs, of what has no gradient: frozen parameters. */
  readonly frozen: readonly number[]
  readonly #offsets = new Map<Parameter, number>()
  readonly #arrays = new Map<ArenaRole, Tensor>()
  readonly #role = new Meanwhile<'weights' | 'ema'>('weights')
  #optimizer: object | undefined
  #compute: Tensor | undefined
  #arrive: (() => void) | undefined
  #changes = 0
  #isDisposed = false

  constructor(parameters: readonly Parameter[], device: Device) {
    this.device = device
    this.parameters = parameters
    let size = 0
    const frozen: number[] = []
    for (const parameter of parameters) {
      const count = elementCount(parameter.shape)
      this.#offsets.set(parameter, size)
      parameter.memory = this
      if (!parameter.trainable) frozen.push(size, size + count)
      size += Math.ceil(count / ALIGNMENT) * ALIGNMENT
    }
    this.size = size
    this.frozen = frozen
    this.use('weights')
  }

  /** Begin and end, in pairs and ascending, of some of the parameters; what only gaps part is one range. */
  rangesOf(wanted: (parameter: Parameter) => boolean): number[] {
    const ranges: number[] = []
    let before = false
    for (const parameter of this.parameters) {
      const begin = this.#offsets.get(parameter)!
      const end = begin + elementCount(parameter.shape)
      const isWanted = wanted(parameter)
      if (isWanted && before) ranges[ranges.length - 1] = end
      else if (isWanted) ranges.push(begin, end)
      before = isWanted
    }
    return ranges
  }

  /** The flat array of a role, made of zeros at first use. Throws where the model has been disposed of. */
  array(role: ArenaRole): Tensor {
    if (role === 'weights' || role === 'ema') this.settle()
    let array = this.#arrays.get(role)
    if (!array) {
      // Zeros would pass for its weights.
      this.requireAlive(role)
      array = keep(Tensor.zeros([this.size], this.device))
      this.#arrays.set(role, array)
    }
    return array
  }

  /** @throws {Error} where the model has been disposed of */
  requireAlive(role: ArenaRole): void {
    if (this.#isDisposed) throw new Error(`The model has been disposed of, its ${role} with it.`)
  }

  has(role: ArenaRole): boolean {
    return this.#arrays.has(role)
  }

  /** Whose moments and EMA the arena's are: the last optimizer that was made for it. */
  get optimizer(): object | undefined {
    return this.#isDisposed ? undefined : this.#optimizer
  }

  set optimizer(optimizer: object) {
    this.#optimizer = optimizer
  }

  /**
   * Weights, EMA and the copy of them are on their way: `arrive` enqueues what brings them, and does so when the first of them is asked for.
   * Until then the device may do what needs none of them.
   */
  arriveBy(arrive: () => void): void {
    this.#arrive = arrive
  }

  /** Enqueues what brings weights, EMA and the copy of them where they are on their way. All that reads or writes one comes through here. */
  settle(): void {
    const arrive = this.#arrive
    this.#arrive = undefined
    arrive?.()
  }

  /** By the role whose values the parameters are, what these are computed in, and how often they have been changed. */
  get version(): string {
    return `${this.role} in ${this.#compute?.dtype ?? 'f32'}, change ${this.#changes}`
  }

  /** The values of weights and EMA are others from here on. Said by what enqueues that: an optimizer, a graph, a load. */
  countChange(): void {
    this.#changes++
  }

  /** Whose values the parameters are. */
  get role(): 'weights' | 'ema' {
    return this.#role.value
  }

  /** @throws {Error} where the parameters are the averaged model's: a step would take its gradient there, and update the weights by it */
  requireWeights(what: string): void {
    if (this.role === 'weights') return
    throw new Error(
      `${what}: the model's parameters are its ${this.role}, by arena.use('${this.role}'), and training is of its weights; call ` +
        "arena.use('weights') first, or let arena.useMeanwhile see to it.",
    )
  }

  /** `use` until what it returns is disposed of: then the parameters are what `Meanwhile` says. */
  useMeanwhile(role: 'weights' | 'ema'): Disposable {
    return this.#role.begin(role, (holds) => this.use(holds))
  }

  /**
   * Lets the parameters be the values of one role: `weights`, or `ema` to run the averaged model.
   *
   * @throws {Error} where there is none of that role: the model would run on zeros
   */
  use(role: 'weights' | 'ema'): void {
    if (!this.#isDisposed && role !== 'weights' && !(role === 'ema' && this.has(role))) {
      throw new Error(
        role === 'ema'
          ? 'The model has no EMA: a Trainer or an AdamW keeps one, and checkpoints with their optimizer hold it.'
          : `The parameters cannot be "${role}"; expected weights or ema.`,
      )
    }
    this.#role.value = role
    const array = this.array(role)
    for (const parameter of this.parameters) {
      parameter.bind(keep(array.view(this.#offsets.get(parameter)!, parameter.shape)))
    }
    this.#copyToCompute()
  }

  /** Lets products read a copy of the values in a narrower dtype; f32: the values themselves. A copy that is in it already stays where it is. */
  computeIn(dtype: ComputeDType): void {
    this.settle()
    if (dtype === (this.#compute?.dtype ?? 'f32')) return
    changes++
    this.#compute?.dispose()
    this.#compute = dtype === 'f32' ? undefined : keep(Tensor.empty([this.size], this.device, dtype))
    for (const parameter of this.parameters) {
      const copy = this.#compute?.view(this.#offsets.get(parameter)!, parameter.shape)
      parameter.bindCompute(copy && keep(copy))
    }
    this.#copyToCompute()
  }

  /** The flat copy of the values in the dtype of computation; undefined where that is f32. */
  get compute(): Tensor | undefined {
    this.settle()
    return this.#compute
  }

  /** Makes the copy anew, after the values have been written by anything but the optimizer, which keeps it. */
  refreshCompute(): void {
    this.countChange()
    this.#copyToCompute()
  }

  #copyToCompute(): void {
    if (!this.#compute) return
    using copy = cast(this.array(this.role), this.#compute.dtype)
    native().copy(this.#compute.handle, copy.handle)
  }

  /** Gives every trainable parameter a gradient: from now on a tape records what it takes part in. */
  allocateGradients(): void {
    const array = this.array('gradients')
    for (const parameter of this.parameters) {
      if (parameter.trainable && !parameter.gradient) {
        parameter.gradient = keep(array.view(this.#offsets.get(parameter)!, parameter.shape))
      }
    }
  }

  /** A state dict's tensor in one of the arrays, as a view; the caller disposes it. */
  view(role: ArenaRole, entry: StateEntry): Tensor {
    return this.array(role).view(this.#offsets.get(entry.parameter)! + entry.offset, entry.shape)
  }

  dispose(): void {
    this.settle()
    changes++
    for (const parameter of this.parameters) {
      parameter.value.dispose()
      parameter.bindCompute(undefined)
      parameter.gradient?.dispose()
      parameter.gradient = undefined
    }
    for (const array of this.#arrays.values()) array.dispose()
    this.#arrays.clear()
    this.#isDisposed = true
    this.#compute?.dispose()
    this.#compute = undefined
  }
}
