/** A setting that several may have otherwise meanwhile, and end in whatever order: what who began last says holds, and after all what was before. */
export class Meanwhile<Value> {
  readonly #said: { value: Value }[]

  constructor(value: Value) {
    this.#said = [{ value }]
  }

  get value(): Value {
    return this.#said.at(-1)!.value
  }

  /** What is said by who began last, or by nobody who ends it. */
  set value(value: Value) {
    this.#said.at(-1)!.value = value
  }

  /** Begins; `apply` sets `value` and what follows from it, now and when what comes back is disposed of. Nothing has begun where it throws now. */
  begin(value: Value, apply: (value: Value) => void): Disposable {
    const own = { value: this.value }
    this.#said.push(own)
    try {
      apply(value)
    } catch (error) {
      this.#said.pop()
      throw error
    }
    return {
      [Symbol.dispose]: () => {
        const place = this.#said.indexOf(own)
        if (place < 0) return
        this.#said.splice(place, 1)
        apply(this.value)
      },
    }
  }
}
