import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { measuredSteps } from '../../src/planning/measurements.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const report = (batch: number, more: object = {}) => ({
  model: 'SiT-B/2',
  batch,
  device: 'cpu',
  ours: { imagesPerSecond: 2, flops: 1e12 },
  ...more,
})

test('what was measured last comes first, without what was measured beside a busy process, with a route or on several GPUs', async () => {
  const folder = temporaryFolder()
  const write = (name: string, date: string, ...steps: object[]) =>
    writeFileSync(join(folder, name), JSON.stringify({ date, machine: 'here', runs: { steps } }))
  write(
    'b.json',
    '2026-01-02',
    report(1),
    report(2, { beside: 'a busy process' }),
    report(3, { route: 0.5 }),
    report(4, { processes: 8 }),
  )
  write('c.json', '2026-03-01', report(4), report(5))
  write('a.json', '2026-01-02', report(6))
  const steps = await measuredSteps(folder)
  expect(steps.map(({ file, batch }) => [file, batch])).toEqual([
    ['c.json', 4],
    ['c.json', 5],
    ['b.json', 1],
    ['a.json', 6],
  ])
  // What the first files do not say.
  expect(steps[0]).toMatchObject({ date: '2026-03-01', machine: 'here', size: 256, precision: 'fp32', flops: 1e12 })
})
