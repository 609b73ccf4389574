import { describe, expect, test } from 'vitest'
import { verify } from '../../src/verification/verify.ts'
import { goldenSuffix, haveGolden } from '../shared-folder.ts'
import { DEVICES } from '../tensor/devices.ts'
import { GOLDEN } from '../verification/golden-copy.ts'
/** Kinds that compute on the device; the others read files. Without those of full size, which the shim would take hours for. */
import KINDS from './golden-kinds.json' with { type: 'json' }

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing || device === 'cpu' || !haveGolden)(`golden vectors on ${device}${goldenSuffix}`, () => {
    test.each(['fp32', 'tf32', 'bf16'] as const)(
      'in %s',
      async (precision) => {
        const report = await verify(GOLDEN, { device, precision, kinds: KINDS })
        const outside = report.reports.flatMap(({ file, problems, comparisons }) => [
          ...problems.map((problem) => `${file}: ${problem}`),
          ...comparisons.flatMap(({ tensor, ratio, passed }) =>
            passed ? [] : [`${file} ${tensor}: ${ratio} of its tolerance`],
          ),
        ])
        expect(outside).toEqual([])
        expect(report.passed).toBe(true)
        expect(report.compared).toBeGreaterThan(precision === 'fp32' ? 500 : 200)
      },
      1_800_000,
    )
  })
}
