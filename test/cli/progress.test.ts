import { describe, expect, test } from 'vitest'
import { Output } from '../../src/cli/output.ts'
import { Progress, type ProgressOptions } from '../../src/cli/progress.ts'
import { RecordingStream } from './recording-stream.ts'

function start(options: ProgressOptions, { isTTY = false, columns = 80, json = false, quiet = false, env = {} } = {}) {
  const stderr = new RecordingStream({ isTTY, columns })
  const stdout = new RecordingStream()
  const clock = { ms: 0 }
  const out = new Output({ stdout, stderr, env, json, quiet })
  return { stderr, stdout, out, clock, progress: new Progress(out, options, () => clock.ms) }
}

const training: ProgressOptions = { label: 'train', unit: 'steps', total: 1000 }

describe('on a terminal', () => {
  test('one line that is redrawn, with rate, ETA and fields; then a last line', () => {
    const { stderr, clock, progress } = start(training, { isTTY: true })
    for (let step = 1; step <= 250; step++) {
      clock.ms += 40
      progress.update(step, { loss: 1 / 3 })
    }
    expect(stderr.screen).toEqual(['train  ████············  25 %  250/1,000  25.0 steps/s  ETA 30.0 s  loss 0.3333'])
    progress.end()
    expect(stderr.screen).toEqual(['train: 250/1,000 steps in 10.0 s · 25.0 steps/s · loss 0.3333', ''])
  })

  test('what is done in between counts neither as time nor for rate and ETA', () => {
    const { stderr, clock, progress } = start(training, { isTTY: true })
    const walk = (from: number, to: number) => {
      for (let step = from; step <= to; step++) {
        clock.ms += 40
        progress.update(step)
      }
    }
    walk(1, 100)
    progress.pause()
    clock.ms += 60_000
    progress.resume()
    walk(101, 250)
    // Drawn at every third step.
    expect(stderr.screen).toEqual(['train  ███████▎·····················  24 %  248/1,000  25.0 steps/s  ETA 30.1 s'])
    progress.pause()
    clock.ms += 60_000
    progress.end()
    expect(stderr.screen[0]).toBe('train: 250/1,000 steps in 10.0 s · 25.0 steps/s')
  })

  test('is redrawn at most every 100 ms', () => {
    const { stderr, clock, progress } = start(training, { isTTY: true })
    for (let step = 1; step <= 1000; step++) {
      clock.ms += 1
      progress.update(step)
    }
    expect(stderr.text.split('\r').length - 1).toBe(10)
  })

  test('lines of others go above the bar', () => {
    const { stderr, out, progress } = start(training, { isTTY: true })
    progress.update(10)
    out.line('saved')
    expect(stderr.screen[0]).toBe('saved')
    expect(stderr.screen[1]).toMatch(/^train/)
    out.close()
    expect(stderr.screen).toEqual(['saved', ''])
  })

  test.each([1, 2, 5, 10, 20, 40, 79, 80, 200])('fits into %i columns', (columns) => {
    const { stderr, clock, progress } = start(training, { isTTY: true, columns })
    for (let step = 1; step <= 20; step++) {
      clock.ms += 200
      progress.update(step, { loss: 0.81234, gradNorm: 1.5, note: 'warm-up' })
      expect(stderr.screen.at(-1)!.length).toBeLessThan(columns)
    }
    progress.end()
  })

  // A pseudo-terminal that nobody gave a size, as of `docker run -t` or `ssh -tt`.
  test('of no known width: as with 80 columns', () => {
    const [unknown, usual] = [0, 80].map((columns) => {
      const { stderr, clock, progress } = start(training, { isTTY: true, columns })
      clock.ms = 1000
      progress.update(250, { loss: 1 / 3 })
      return stderr.screen
    })
    expect(unknown).toEqual(usual)
    expect(usual![0]).toContain('250/1,000')
  })

  test('without a total: a count and a rate, neither bar nor ETA', () => {
    const { stderr, clock, progress } = start({ label: 'read', unit: 'images' }, { isTTY: true })
    clock.ms = 1000
    progress.update(500)
    expect(stderr.screen).toEqual(['read  500 images  500 images/s'])
  })
})

describe('without a terminal', () => {
  test.each([
    ['elsewhere', {}],
    // https://man7.org/linux/man-pages/man5/terminfo.5.html: a terminal without any capability, as Emacs' shell is.
    ['a dumb terminal', { isTTY: true, env: { TERM: 'dumb' } }],
  ])('plain lines every five seconds, no control characters: %s', (_, surroundings) => {
    const { stderr, clock, progress } = start(training, surroundings)
    for (let step = 1; step <= 120; step++) {
      clock.ms += 100
      progress.update(step, { loss: 0.5 })
    }
    progress.end()
    expect(stderr.text.split('\n')).toEqual([
      'train: 50/1,000 steps · 5 % · 10.0 steps/s · ETA 1 min 35 s · loss 0.5000',
      'train: 100/1,000 steps · 10 % · 10.0 steps/s · ETA 1 min 30 s · loss 0.5000',
      'train: 120/1,000 steps in 12.0 s · 10.0 steps/s · loss 0.5000',
      '',
    ])
  })

  test.each([
    [{ skipped: 1 }, 'skipped 1'],
    [{ skipped: 12345, loss: 0.5 }, 'skipped 12,345 · loss 0.5000'],
    [{ skipped: 0, loss: 1.5 }, 'skipped 0 · loss 1.500'],
    [{ scale: 2 ** 80 }, 'scale 1.209e24'],
  ])('counts among the fields are whole: %j', (fields, text) => {
    const { stderr, clock, progress } = start({ label: 'images', unit: 'images', total: 10 })
    clock.ms = 5000
    progress.update(5, fields)
    expect(stderr.text).toBe(`images: 5/10 images · 50 % · 1.00 images/s · ETA 5.0 s · ${text}\n`)
  })

  test('a resumed run counts its rate from where it resumed', () => {
    const { stderr, clock, progress } = start({ ...training, initial: 900 })
    clock.ms = 5000
    progress.update(950)
    progress.end()
    expect(stderr.text).toContain('950/1,000 steps · 95 % · 10.0 steps/s · ETA 5.0 s')
    expect(stderr.text).toContain('950/1,000 steps in 5.0 s · 10.0 steps/s')
  })
})

test.each([true, false])(
  'a job that failed before it did anything leaves no line, on a terminal (%o) or elsewhere',
  (isTTY) => {
    const { stderr, progress } = start(training, { isTTY })
    progress.update(0)
    progress.end()
    expect(isTTY ? stderr.screen : stderr.text).toEqual(isTTY ? [''] : '')
  },
)

test('a job that found all done says so', () => {
  const { stderr, progress } = start({ ...training, initial: 1000 })
  progress.end()
  expect(stderr.text).toBe('train: 1,000/1,000 steps in 0 ms\n')
})

test.each([{ quiet: true }, { json: true }])('%o: nothing', (flags) => {
  const { stderr, stdout, clock, progress } = start(training, { isTTY: true, ...flags })
  clock.ms = 10_000
  progress.update(500)
  progress.end()
  expect([stderr.text, stdout.text]).toEqual(['', ''])
})

test('ends once, also through using', () => {
  const { stderr, progress, clock } = start(training)
  {
    using bar = progress
    clock.ms = 1000
    bar.update(1000)
    bar.end()
  }
  progress.update(1)
  expect(stderr.text).toBe('train: 1,000/1,000 steps in 1.0 s · 1,000 steps/s\n')
})
