import type { Precision } from '../training/precision.ts'
import { type InterleavedComparison, interleave, type MeasuredRound, type TimeAloneOptions } from './interleave.ts'
import type { PythonBaseline, PythonBaselineOptions } from './python-baseline.ts'

/** How PyTorch trains beside us. */
export type StepBaseline = Pick<PythonBaselineOptions, 'variant' | 'compile' | 'regions' | 'command' | 'onLog'>

export interface BesidePythonOptions extends Pick<TimeAloneOptions, 'ours' | 'rounds' | 'warmup' | 'signal'> {
  readonly onRound?: (round: MeasuredRound) => void
}

/** Times our work in turn with the baseline's. Throws what `interleave` throws. */
export function besidePython(
  baseline: PythonBaseline,
  { onRound, ...options }: BesidePythonOptions,
): Promise<InterleavedComparison> {
  return interleave({
    ...options,
    baseline: async () => (await baseline.step())[0]!,
    onRound: ({ ours: seconds, ...round }) => onRound?.({ ...round, seconds }),
  })
}

/** What the baseline computes in beside ours of a precision; its fp32 is tf32 on a GPU. */
export function precisionOfBaseline(precision: Precision): 'bf16' | 'fp32' {
  if (precision === 'fp16') throw new RangeError('The baseline computes in bf16 or fp32, not in fp16.')
  return precision === 'tf32' ? 'fp32' : precision
}

/** Throws where parts are to be compiled by themselves, and nothing is compiled. */
export function requireCompiledRegions({ regions, compile }: StepBaseline): void {
  if (regions && !compile) throw new RangeError('regions are of what torch.compile compiles; give it a mode.')
}

/** Throws where our step would leave out tokens that the baseline's computes. */
export function requireNoRoute({ routeTokens = 0 }: { readonly routeTokens?: number }): void {
  if (routeTokens > 0)
    throw new RangeError('The baseline computes all tokens in every block; leave it out, or the route.')
}
