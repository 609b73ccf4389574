/**
 * What a step hands to the other processes, and when: seen by a world that pretends there are two and exchanges nothing. That the sums and
 * weights come out right is processes.test.ts's.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { ALONE, type World } from '../../src/distributed/world.ts'
import { native } from '../../src/native.ts'
import { keep } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { constantEncoder } from '../data/constant-encoder.ts'
import { align, BATCH, CASES, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const data = mkdtempSync(join(tmpdir(), 'repa-gradient-exchange-'))
beforeAll(() => captionedDataset(2 * BATCH, data))
afterAll(() => rmSync(data, { recursive: true, force: true }))
afterEach(() => {
  vi.restoreAllMocks()
})

/** The first of two processes, as far as a step can tell. */
const pretended = (calls: Partial<World>): World => ({ ...ALONE, size: 2, ...calls })

describe.each(CASES)('$name', (table) => {
  test.each([1, 2])('hands on every gradient once, final, in %d passes', async (accumulate) => {
    using model = modelOf(table)
    const begun: { readonly ranges: readonly number[]; readonly found: Tensor }[] = []
    const copy = () => {
      const made = keep(Tensor.empty([model.arena.size], 'cpu'))
      native().copy(made.handle, model.arena.array('gradients').handle)
      return made
    }
    let atTheEnd: Tensor | undefined
    const world = pretended({
      beginReduceSum: (_, share, ranges) => {
        expect(share).toBe(Math.floor(model.arena.size / 32) * 16)
        begun.push({ ranges, found: copy() })
      },
      awaitBegun: () => {
        atTheEnd ??= copy()
      },
    })
    await using trainer = await tinyTrainer(model, data, { ...table.options, accumulate, world })
    await steps(trainer, 1)
    const { arena } = model
    const covered = new Int8Array(arena.size)
    const last = await atTheEnd!.data()
    for (const { ranges, found } of begun) {
      const values = await found.data()
      for (let i = 0; i < ranges.length; i += 2) {
        const [begin, end] = [ranges[i]!, ranges[i + 1]!]
        expect([...values.subarray(begin, end)]).toEqual([...last.subarray(begin, end)])
        for (let element = begin; element < end; element++) covered[element]!++
      }
    }
    for (const parameter of arena.parameters) {
      const times = parameter.trainable ? 1 : 0
      const [begin, end] = arena.rangesOf((other) => other === parameter) as [number, number]
      expect([parameter.name, ...new Set(covered.subarray(begin, end))]).toEqual([parameter.name, times])
    }
    // Blocks have gone one by one, from the last to the first.
    const prefixes = table.text ? ['joint_blocks', 'x_block.'] : ['blocks', '']
    const qkvOf = (block: number) => `${prefixes[0]}.${block}.${prefixes[1]}attn.qkv.weight`
    const firstOf = (block: number) => arena.rangesOf(({ name }) => name === qkvOf(block))[0]!
    const at = (element: number) =>
      begun.findIndex(({ ranges }) =>
        ranges.some((begin, i) => i % 2 === 0 && begin <= element && element < ranges[i + 1]!),
      )
    expect(at(firstOf(1))).toBeLessThan(at(firstOf(0)))
    expect(at(firstOf(0))).toBeLessThan(begun.length - 1)
  })
})

test('the encoders of a step run before the weights of the last one are waited for, and whoever reads weights waits', async () => {
  const events: string[] = []
  const log = (event: string) => void events.push(event)
  const { followWeights } = native()
  vi.spyOn(native(), 'followWeights').mockImplementation((...all) => {
    log('follow')
    followWeights(...all)
  })
  const encoder: Encoder = {
    ...constantEncoder,
    features: (...all) => {
      log('encoder')
      return constantEncoder.features(...all)
    },
  }
  const world = pretended({
    beginReduceSum: () => log('sum'),
    beginAllGather: () => log('gather'),
    awaitBegun: () => log('wait'),
  })
  using model = modelOf()
  const trainer = await tinyTrainer(model, data, { align: { ...align, encoder }, world })
  await steps(trainer, 2)
  const step = [...Array(5).fill('sum'), 'wait', 'gather']
  const steady = ['encoder', 'wait', 'follow', ...step]
  expect(events).toEqual(['encoder', ...step, ...steady])
  const { arena } = model
  const [parameter] = arena.parameters
  const readers: readonly (() => unknown)[] = [
    () => parameter!.value,
    () => parameter!.compute,
    () => arena.array('weights'),
    () => arena.array('ema'),
    () => arena.compute,
    () => arena.computeIn('f32'),
    () => arena.use('weights'),
    () => trainer.optimizer.restore({ updates: 1, skipped: 0 }),
    () => trainer.dispose(),
  ]
  let made = 2
  for (const read of readers) {
    await steps(trainer, ++made)
    events.length = 0
    await read()
    expect(events, String(read)).toEqual(['wait', 'follow'])
    arena.array('weights')
    expect(events, String(read)).toHaveLength(2)
  }
})
