import { normalize } from 'node:path'
import type { Evaluation, FidEvaluation } from './evaluations.ts'
import { groupBy } from './grouping.ts'
import { shortPaths } from './short-paths.ts'
import { type Measured, type WayOfSampling, waysOfSampling } from './ways-of-sampling.ts'

/** Measurements against one reference in the features of one network. */
export interface QualityGroup {
  readonly network: string
  /** The reference as pages name it. */
  readonly reference: string
  /** Other references were measured against in these features. */
  readonly isOneOfSeveralReferences: boolean
  readonly ways: readonly WayOfSampling[]
}

/** What can be compared of the samples of all runs. */
export function qualityGroups(all: readonly (readonly Evaluation[])[]): QualityGroup[] {
  const measured = all.flatMap((own, run) =>
    own.flatMap((evaluation): Measured[] =>
      evaluation.kind === 'fid' && hasValues(evaluation) ? [{ run, evaluation }] : [],
    ),
  )
  const names = shortPaths(measured.map(({ evaluation }) => evaluation.reference))
  const groups = groupBy(measured, ({ evaluation: { network, reference } }) =>
    JSON.stringify([network, normalize(reference)]),
  )
  return groups.map((group) => {
    const { network, reference } = group[0]!.evaluation
    return {
      network,
      reference: names.get(reference)!,
      isOneOfSeveralReferences: groups.some((other) => other !== group && other[0]!.evaluation.network === network),
      ways: waysOfSampling(group),
    }
  })
}

/** Statistics of a reference alone are no judgement of samples. */
function hasValues({ fid, sfid, is, precision, recall }: FidEvaluation): boolean {
  return [fid, sfid, is, precision, recall].some((value) => typeof value === 'number')
}
