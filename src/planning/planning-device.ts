/**
 * A device for planning: every operation works out the shapes of its results, what memory it takes and how many floating-point
 * operations it makes, and computes nothing. Models, tapes, encoders and trainers run on it as on any other device, so a plan follows
 * from the graph of the training step itself.
 */
import type { NativeAddon, NativeTensor } from '../native.ts'
import type { Phase } from './ledger.ts'
import { type PlannedStorage, PlannedTensor, plannedOf } from './planned-tensor.ts'
import { type PlannedMachine, Planner } from './planner.ts'
import { attentionRules } from './rules/attention.ts'
import { convolutionRules } from './rules/convolutions.ts'
import { elementwiseRules } from './rules/elementwise.ts'
import { imageRules } from './rules/images.ts'
import { lossRules } from './rules/losses.ts'
import { patchEmbedRules } from './rules/patch-embed.ts'
import { productRules } from './rules/products.ts'
import { reductionRules } from './rules/reductions.ts'
import { streamRules } from './rules/stream.ts'
import { tensorRules } from './rules/tensors.ts'

/** Ops with which a step comes to another part of itself. */
const BACKWARD = /Backward$|Gradients?$/
const OPTIMIZER = new Set(['sumOfSquares', 'clipGradientNorm', 'adamW', 'followWeights'])
/** What a pass over samples begins with: a step may make several. */
const PASS = new Set(['samplePosterior', 'interpolant', 'combineSamples'])

export class PlanningDevice {
  readonly planner: Planner
  /** For `withAddon`. */
  readonly addon: NativeAddon
  /** Of the arrays that hold parameters, their copies and gradients: which part of the model begins at which element. */
  readonly #parts = new Map<PlannedStorage, ReadonlyMap<number, string>>()

  constructor(machine: PlannedMachine) {
    const planner = new Planner(machine)
    this.planner = planner
    const rules: Partial<NativeAddon> = {
      ...tensorRules(planner),
      ...productRules(planner),
      ...patchEmbedRules(planner),
      ...reductionRules(planner),
      ...attentionRules(planner),
      ...streamRules(planner),
      ...elementwiseRules(planner),
      ...lossRules(planner),
      ...imageRules(planner),
      ...convolutionRules(planner),
    }
    const observed = Object.entries(rules).map(([name, rule]) => {
      const run = rule as (...values: readonly unknown[]) => unknown
      const entered = (...values: readonly unknown[]) => {
        this.#enter(name, values)
        return run(...values)
      }
      return [name, entered]
    })
    // What has no rule says so by its name, instead of being undefined.
    this.addon = new Proxy(Object.fromEntries(observed) as unknown as NativeAddon, {
      get: (target, name: string & keyof NativeAddon) => {
        if (name in target) return target[name]
        throw new Error(
          `The planning device has no rule for the operation ${name}; src/planning/rules/ is where it belongs.`,
        )
      },
    })
  }

  /** Lets what is made with parameters in this array be booked under parts of the model, by the element at which each begins. */
  nameParts(array: NativeTensor, parts: ReadonlyMap<number, string>): void {
    this.#parts.set(plannedOf(array).storage, parts)
  }

  /** Runs code whose memory and work are of another phase. */
  during<R>(phase: Phase, body: () => R): R {
    const { ledger } = this.planner
    const outer = ledger.phase
    ledger.phase = phase
    try {
      return body()
    } finally {
      ledger.phase = outer
    }
  }

  #enter(name: string, values: readonly unknown[]): void {
    const { ledger } = this.planner
    if (ledger.phase === 'setup' || ledger.phase === 'encoder') return
    const part = values
      .flat()
      .flatMap((value) => (value instanceof PlannedTensor ? [this.#parts.get(value.storage)?.get(value.offset)] : []))
      .find((found) => found !== undefined)
    if (PASS.has(name)) ledger.phase = 'batch'
    else if (OPTIMIZER.has(name)) ledger.phase = 'optimizer'
    else if (BACKWARD.test(name)) ledger.phase = 'backward'
    else if (part !== undefined && ledger.phase === 'batch') ledger.phase = 'forward'
    if (part !== undefined) ledger.part = part
  }
}
