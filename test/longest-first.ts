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

function rankOf({ moduleId }: TestSpecification): number {
  const rank = LONGEST.findIndex((file) => moduleId.endsWith(file))
  return rank < 0 ? LONGEST.length : rank
}
