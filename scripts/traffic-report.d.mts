export interface Requests {
  readonly space: 'shared' | 'global'
  readonly kind: 'load' | 'store'
  readonly bytes: number
  readonly requests: number
  readonly units: number
  readonly least: number
}

export interface Instruction extends Requests {
  readonly kernel: string
  readonly place: number
}

export function readTraffic(text: string): Instruction[]

export function trafficByKernel(
  instructions: readonly Instruction[],
): Pick<Instruction, 'kernel' | 'space' | 'requests' | 'units' | 'least'>[]

export function trafficByLine(
  instructions: readonly Instruction[],
  addon: string,
): (Instruction & { readonly line: string })[]
