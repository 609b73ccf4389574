/**
 * Most bytes of memory that one pickle's objects may take, by the estimates below. A checkpoint's own are a few
 * megabytes; a hostile pickle makes an object of hundreds of bytes from each of its own.
 */
const MEMORY_BUDGET = 2 ** 27

/** Bytes that objects take, roughly. */
export const COST = { slot: 16, list: 64, map: 300, set: 200, memo: 64, text: 48 } as const

/** The memory of a pickle's machine: its stack, the marks in it and its memo, within a budget of bytes. */
export class PickleStack {
  readonly #fault: (problem: string) => Error
  /** What lies above the last mark. */
  #values: unknown[] = []
  /** What lies below each mark. */
  readonly #marked: unknown[][] = []
  readonly #memo = new Map<number, unknown>()
  #budget = MEMORY_BUDGET

  /** `fault` makes an error of what the pickle did wrong. */
  constructor(fault: (problem: string) => Error) {
    this.#fault = fault
  }

  push(value: unknown, cost: number = COST.slot): void {
    this.charge(cost)
    this.#values.push(value)
  }

  pushText(value: string | Uint8Array): void {
    this.push(value, COST.text + 2 * value.length)
  }

  pop(): unknown {
    if (this.#values.length === 0) throw this.#fault('takes a value that is not there: it is damaged')
    return this.#values.pop()
  }

  popMany(count: number): unknown[] {
    if (this.#values.length < count) throw this.#fault('takes a value that is not there: it is damaged')
    return this.#values.splice(this.#values.length - count)
  }

  top(): unknown {
    if (this.#values.length === 0) throw this.#fault('takes a value that is not there: it is damaged')
    return this.#values.at(-1)
  }

  mark(): void {
    this.charge(COST.list)
    this.#marked.push(this.#values)
    this.#values = []
  }

  popMark(): unknown[] {
    const items = this.#values
    const below = this.#marked.pop()
    if (below === undefined) throw this.#fault('takes a mark that is not there: it is damaged')
    this.#values = below
    return items
  }

  /** Drops the topmost value, or the mark where that is on top. */
  discard(): void {
    if (this.#values.length === 0) this.popMark()
    else this.pop()
  }

  /** How many values were memorised. */
  get memorised(): number {
    return this.#memo.size
  }

  recall(index: number): void {
    if (!this.#memo.has(index)) throw this.#fault(`recalls memo ${index}, which was never set: it is damaged`)
    this.push(this.#memo.get(index))
  }

  memorise(index: number): void {
    this.charge(COST.memo)
    this.#memo.set(index, this.top())
  }

  charge(bytes: number): void {
    this.#budget -= bytes
    if (this.#budget < 0) throw this.#fault(`would take more than ${MEMORY_BUDGET / 2 ** 20} MiB of memory`)
  }
}

/** What a reconstruction reads or copies: without this, copying one long list again and again would cost nothing. */
export function contentCost(value: unknown): number {
  if (Array.isArray(value) || typeof value === 'string') return COST.slot * value.length
  if (value instanceof Map || value instanceof Set) return 3 * COST.slot * value.size
  if (value instanceof Uint8Array) return value.length
  return typeof value === 'object' && value !== null && 'data' in value ? contentCost(value.data) : 0
}
