import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Files of half a minute and more, the longest first. Without the times of an earlier run, as in CI, Vitest begins with the largest files, and
 * one of these may be begun last and be waited for alone.
 */
const LONGEST = [
  'test/simt/sanitizers.test.ts',
  'test/end-to-end/flow.test.ts',
  'test/end-to-end/captions.test.ts',
  'test/simt/shim.test.ts',
  'test/end-to-end/prepare.test.ts',
]

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    return sorted.sort((a, b) => rankOf(a) - rankOf(b))
  }
}

/** Files that share processes come last, together: Vitest ends a process that the next file does not share. */
function rankOf({ moduleId, project }: TestSpecification): number {
  const rank = LONGEST.findIndex((file) => moduleId.endsWith(file))
  if (rank >= 0) return rank
  return project.config.isolate ? LONGEST.length : LONGEST.length + 1
}
