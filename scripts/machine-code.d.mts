export type Unit = 'fma' | 'alu' | 'special' | 'tensor' | 'memory' | 'uniform' | 'control'

/** A loop's instructions, those of the loops in it included. */
export interface Loop {
  /** Addresses of its first and last instruction. */
  readonly first: number
  readonly last: number
  readonly count: number
  readonly units: readonly (readonly [Unit, number])[]
  /** As `STG.128`, with the bits of a lane. */
  readonly accesses: readonly (readonly [string, number])[]
}

export interface KernelCode {
  readonly architecture: string
  /** As the linker knows it. */
  readonly name: string
  readonly count: number
  readonly loops: readonly Loop[]
}

export function unitOf(opcode: string): Unit

export function readMachineCode(text: string): KernelCode[]
