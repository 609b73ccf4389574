import { beforeAll, describe, expect, test } from 'vitest'
import { RUNNERS } from '../../src/verification/kinds/registry.ts'
import { type VerifyReport, verify } from '../../src/verification/verify.ts'
import { GOLDEN, haveGolden, readGoldenManifest } from './golden-copy.ts'

const files: (readonly [kind: string, path: string])[] = haveGolden
  ? readGoldenManifest().cases.flatMap(({ files }) =>
      Object.entries(files).flatMap(([path, { kind }]) => (RUNNERS.has(kind) ? [[kind, path] as const] : [])),
    )
  : [['(no golden vectors; set REPA_SHARED to the folder that has them)', '']]

describe.skipIf(!haveGolden)('the golden set', () => {
  let report: VerifyReport
  beforeAll(async () => {
    report = await verify(GOLDEN, { kinds: [...RUNNERS.keys()] })
  }, 600_000)

  test.each(files)('%s %s', (_, path) => {
    const file = report.reports.find((candidate) => candidate.file === path)!
    expect(file.problems).toEqual([])
    expect(file.comparisons.filter(({ passed }) => !passed)).toEqual([])
    expect(file.status).toBe('passed')
    expect(file.comparisons.length + file.notes.length).toBeGreaterThan(0)
  })

  test('is verified as a whole', () => {
    expect(report).toMatchObject({ passed: true, failed: 0, files: files.length, unknownKinds: {}, unmatched: [] })
    expect(report.worst!.comparison.ratio).toBeGreaterThan(0)
  })
})
