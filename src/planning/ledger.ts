/** What a planned step needs, by part: memory at its fullest moment, and floating-point operations. */

/** Parts of a step, in the order in which it comes to them. */
export type Phase = 'setup' | 'batch' | 'encoder' | 'forward' | 'backward' | 'optimizer'

/** What memory is held for: a role (`weights`, `ema`), or `activations:PART` by the part of the model that made it. */
export type Purpose = string

export class Ledger {
  phase: Phase = 'setup'
  /** The part of the model whose parameters were read last: `blocks.3`, `projectors`. */
  part = ''
  readonly #live = new Map<Purpose, number>()
  readonly #flops = new Map<Phase, number>()
  #liveBytes = 0
  #peakBytes = 0
  #atPeak: ReadonlyMap<Purpose, number> = new Map()

  /** What a block taken now is for. */
  get purpose(): Purpose {
    switch (this.phase) {
      case 'setup':
        return 'state'
      case 'forward':
        return `activations:${this.part}`
      case 'backward':
      case 'optimizer':
        return 'gradients of activations'
      default:
        return this.phase
    }
  }

  take(purpose: Purpose, bytes: number): void {
    this.#live.set(purpose, (this.#live.get(purpose) ?? 0) + bytes)
    this.#liveBytes += bytes
    if (this.#liveBytes > this.#peakBytes) {
      this.#peakBytes = this.#liveBytes
      this.#atPeak = new Map(this.#live)
    }
  }

  give(purpose: Purpose, bytes: number): void {
    this.#live.set(purpose, this.#live.get(purpose)! - bytes)
    this.#liveBytes -= bytes
  }

  addFlops(count: number): void {
    this.#flops.set(this.phase, (this.#flops.get(this.phase) ?? 0) + count)
  }

  flopsOf(phase: Phase): number {
    return this.#flops.get(phase) ?? 0
  }

  /** What is held now, by purpose. */
  get live(): ReadonlyMap<Purpose, number> {
    return this.#live
  }

  /** What was held when the most was. */
  get atPeak(): ReadonlyMap<Purpose, number> {
    return this.#atPeak
  }

  /** Forgets peaks and operations so far. */
  restart(): void {
    this.#peakBytes = this.#liveBytes
    this.#atPeak = new Map(this.#live)
    this.#flops.clear()
  }
}
