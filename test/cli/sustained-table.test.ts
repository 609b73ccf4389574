import { expect, test } from 'vitest'
import type { SustainedInterval } from '../../src/benchmark/sustained.ts'
import { Output } from '../../src/cli/output.ts'
import { showSustained } from '../../src/cli/sustained-table.ts'
import { RecordingStream } from './recording-stream.ts'

const clocks = {
  driver: '580.65.06',
  sm: 1485,
  smMaximum: 1980,
  memory: 3201,
  power: 689.4,
  powerLimit: 700,
  temperature: 61,
}

/** What is said of two intervals. */
function told(clocksOfEach: Partial<Pick<SustainedInterval, 'clocks'>>): string[] {
  const stderr = new RecordingStream({ columns: 200 })
  const out = new Output({ stdout: new RecordingStream(), stderr, env: {}, json: false, quiet: false })
  const intervals = [0, 5].map((start) => {
    return { start, seconds: 5.2, steps: 12, imagesPerSecond: 628.04, clocks: undefined, ...clocksOfEach }
  })
  showSustained({ seconds: 10.3, steps: 24, imagesPerSecond: 627.6, shareOfShort: 0.9984, intervals }, out)
  return stderr.text.trimEnd().split('\n')
}

test('on a GPU, with what it ran at', () => {
  expect(told({ clocks })).toEqual([
    'seconds  steps  images/s  SM clock    power  temperature',
    ' 0 to 5     12     628.0  1485 MHz  689.4 W        61 °C',
    '5 to 10     12     628.0  1485 MHz  689.4 W        61 °C',
    '24 steps in 10.3 s: 627.6 images/s, 99.84 % of the rate of the steps measured before',
  ])
})

test('where nothing is known of clocks, without their columns', () => {
  const [heading, first] = told({})
  expect([heading, first]).toEqual(['seconds  steps  images/s', ' 0 to 5     12     628.0'])
})
