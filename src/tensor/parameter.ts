import type { Tensor } from './tensor.ts'

/** What holds the values of parameters. */
export interface ParameterMemory {
  /** Called before a value, or its copy, is handed out: it may be on its way (`ParameterArena.arriveBy`). */
  settle(): void
  /** Which values these are: another string after whatever has changed them. */
  readonly version: string
}

/**
 * A named tensor of a model. Its value, and for training its gradient, are views into the flat arenas of the model's
 * ParameterArena, which binds them.
 */
export class Parameter {
  readonly name: string
  readonly shape: readonly number[]
  /** False for what training leaves alone (SiT's pos_embed): no gradient, no moments; the EMA still covers it. */
  readonly trainable: boolean
  #value: Tensor | undefined
  #compute: Tensor | undefined
  /** Where the backward pass writes; undefined outside of training. */
  gradient: Tensor | undefined
  /** Undefined of one that is in no model. */
  memory: ParameterMemory | undefined

  constructor(name: string, shape: readonly number[], trainable = true) {
    this.name = name
    this.shape = shape
    this.trainable = trainable
  }

  /** The parameter as a tensor. */
  get value(): Tensor {
    this.memory?.settle()
    if (!this.#value) throw new Error(`The parameter ${this.name} has no memory yet: its model was not materialised.`)
    return this.#value
  }

  /** What products read: the value, or its copy in the dtype in which the model computes. */
  get compute(): Tensor {
    this.memory?.settle()
    return this.#compute ?? this.value
  }

  /** Gives the parameter its memory: it owns this view from now on, and lets go of the one it had. */
  bind(value: Tensor): void {
    this.#value?.dispose()
    value.parameter = this
    this.#value = value
  }

  /** Gives the parameter its copy in the dtype of computation, which it owns; undefined: none. */
  bindCompute(copy: Tensor | undefined): void {
    this.#compute?.dispose()
    if (copy) copy.parameter = this
    this.#compute = copy
  }
}
