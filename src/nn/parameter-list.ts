import { elementCount } from '../tensor/dtype.ts'
import { Parameter } from '../tensor/parameter.ts'
import type { Initialiser } from './initialiser.ts'

/** One tensor of a state dict: a whole parameter, or rows of one that several share (the adaLN projections of all blocks). */
export interface StateEntry {
  readonly name: string
  readonly shape: readonly number[]
  readonly parameter: Parameter
  /** Of the first element within the parameter. */
  readonly offset: number
  /** Whether torch holds it as a buffer, which optimizers do not count: a table that follows from the sizes. */
  readonly isBuffer: boolean
  readonly initialise: Initialiser
}

/** What a model declares while it is built: its parameters, and under which names and in which order files hold them. */
export class ParameterList {
  readonly parameters: Parameter[] = []
  readonly entries: StateEntry[] = []

  /** A parameter that a file holds under its own name, and in `fileShape` where that is another view of the same elements. */
  declare(
    name: string,
    shape: readonly number[],
    initialise: Initialiser,
    options: { trainable?: boolean; isBuffer?: boolean; fileShape?: readonly number[] } = {},
  ): Parameter {
    const parameter = new Parameter(name, shape, options.trainable)
    this.parameters.push(parameter)
    const { fileShape = shape, isBuffer = false } = options
    this.entries.push({ name, shape: fileShape, parameter, offset: 0, isBuffer, initialise })
    return parameter
  }

  /** A parameter that files hold in parts: `part()` adds the entry of the next rows, at its place in the file's order. */
  declareShared(
    name: string,
    shape: readonly number[],
  ): { parameter: Parameter; part: (name: string, shape: readonly number[], initialise: Initialiser) => void } {
    const parameter = new Parameter(name, shape)
    this.parameters.push(parameter)
    let offset = 0
    const part = (partName: string, partShape: readonly number[], initialise: Initialiser) => {
      this.entries.push({ name: partName, shape: partShape, parameter, offset, isBuffer: false, initialise })
      offset += elementCount(partShape)
    }
    return { parameter, part }
  }
}
