/** A block of planned memory: as large as the device's allocator would hand out. */
export interface PlannedBlock {
  readonly bytes: number
}

/** Smallest block, and the steps of larger ones: native/core/allocator.cpp, blockSize. */
const SMALLEST = 256
const STEPS_PER_POWER = 8

/**
 * The device's caching allocator (native/core/allocator.cpp) without memory: which blocks a sequence of requests is given, what lives
 * at once, and what is taken from the system in all.
 */
export class AllocatorModel {
  /** Free blocks by size. */
  readonly #free = new Map<number, PlannedBlock[]>()
  #liveBytes = 0
  #peakBytes = 0
  #cachedBytes = 0

  get liveBytes(): number {
    return this.#liveBytes
  }

  /** The most that was live at once since `resetPeak`. */
  get peakBytes(): number {
    return this.#peakBytes
  }

  /** Live and cached: what the system has given. */
  get takenBytes(): number {
    return this.#liveBytes + this.#cachedBytes
  }

  resetPeak(): void {
    this.#peakBytes = this.#liveBytes
  }

  allocate(bytes: number): PlannedBlock {
    const size = blockSize(bytes)
    const block = this.#takeFree(size) ?? { bytes: size }
    this.#liveBytes += block.bytes
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes)
    return block
  }

  release(block: PlannedBlock): void {
    this.#liveBytes -= block.bytes
    this.#cachedBytes += block.bytes
    const free = this.#free.get(block.bytes)
    if (free) free.push(block)
    else this.#free.set(block.bytes, [block])
  }

  /** The smallest free block that is large enough and at most a quarter larger. */
  #takeFree(size: number): PlannedBlock | undefined {
    let best: number | undefined
    for (const [bytes, blocks] of this.#free) {
      if (bytes < size || bytes > size + Math.floor(size / 4) || blocks.length === 0) continue
      if (best === undefined || bytes < best) best = bytes
    }
    if (best === undefined) return undefined
    const block = this.#free.get(best)!.pop()!
    this.#cachedBytes -= block.bytes
    return block
  }
}

/** Sizes in steps of an eighth of a power of two. */
export function blockSize(bytes: number): number {
  if (bytes <= SMALLEST) return SMALLEST
  const step = 2 ** Math.floor(Math.log2(bytes)) / STEPS_PER_POWER
  return Math.ceil(bytes / step) * step
}
