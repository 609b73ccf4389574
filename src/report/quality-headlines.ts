import type { FidEvaluation } from './evaluations.ts'
import type { QualityGroup } from './quality-groups.ts'
import { formatSignificant } from './quantity.ts'

/** What a run's samples are worth in one measure, as its headline says it. */
export interface QualityHeadline {
  readonly label: string
  readonly value: string
  /** The checkpoint's, where it is known. */
  readonly step: number | undefined
  /** How the samples were made, where the page has several ways; else ''. */
  readonly way: string
  /** Ways of this checkpoint of which this one's distance is the lowest; 1 for what is no distance. */
  readonly isLowestOf: number
}

const MEASURES = ['fid', 'sfid', 'is', 'precision', 'recall'] as const

interface Candidate {
  readonly way: string
  readonly evaluation: FidEvaluation
}

/** Of each measure what was found last: of the newest checkpoint, or where no step is known, of the last file; in the best of its ways. */
export function qualityHeadlines(groups: readonly QualityGroup[], run: number): QualityHeadline[] {
  return groups.flatMap((group) => {
    const candidates = candidatesOf(group, run)
    return MEASURES.flatMap((key): QualityHeadline[] => {
      const measured = candidates.filter(({ evaluation }) => typeof evaluation[key] === 'number')
      const found = measured.at(-1)
      if (found === undefined) return []
      const { evaluation, way } = found
      const value = evaluation[key]!
      const rivals = new Set(measured.filter((own) => own.evaluation.step === evaluation.step).map((own) => own.way))
      return [
        {
          label: labelOf(key, group),
          value: formatSignificant(value, value < 100 ? 3 : 4),
          step: evaluation.step,
          way,
          isLowestOf: key === 'fid' ? rivals.size : 1,
        },
      ]
    })
  })
}

/** The best last: by their steps, and of one step by falling distance. */
function candidatesOf({ ways }: QualityGroup, run: number): Candidate[] {
  const own = ways.flatMap(({ name, measured }) =>
    measured.flatMap(({ run: of, evaluation }) => (of === run ? [{ way: name, evaluation }] : [])),
  )
  const stepOf = ({ evaluation }: Candidate) => evaluation.step ?? Number.MAX_SAFE_INTEGER
  // Of equal ways the last counts, however high.
  const last = [
    ...new Map(own.map((candidate) => [JSON.stringify([candidate.way, stepOf(candidate)]), candidate])).values(),
  ]
  const distanceOf = ({ evaluation }: Candidate) => evaluation.fid ?? Number.MAX_VALUE
  return last.sort((a, b) => stepOf(a) - stepOf(b) || distanceOf(b) - distanceOf(a))
}

function labelOf(
  key: (typeof MEASURES)[number],
  { network, reference, isOneOfSeveralReferences }: QualityGroup,
): string {
  const isInception = network === 'inception'
  const names = {
    fid: isInception ? 'FID' : 'Fréchet distance',
    sfid: 'sFID',
    is: 'IS',
    precision: 'Precision',
    recall: 'Recall',
  } as const
  return `${names[key]}${isInception ? '' : ` (${network})`}${isOneOfSeveralReferences ? ` against ${reference}` : ''}`
}
