/** Lets pieces of work that are made of several awaits have something to themselves, one after another in the order in which they ask. */
export class Turns {
  #last: Promise<void> = Promise.resolve()
  #count = 0

  /** Whether somebody has a turn, or waits for one. */
  get isTaken(): boolean {
    return this.#count > 0
  }

  /** Waits until the turns of all who have asked before are over. This one is over when what comes back is disposed of. */
  async take(): Promise<Disposable> {
    const before = this.#last
    let end = () => {}
    this.#last = new Promise((resolve) => {
      end = resolve
    })
    this.#count++
    await before
    return {
      [Symbol.dispose]: () => {
        this.#count--
        end()
      },
    }
  }
}
