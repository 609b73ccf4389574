import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { METHOD_NAMES } from '../../src/pretraining/method.ts'
import { type PretrainEncoderOptions, pretrainEncoder } from '../../src/pretraining/run.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DEVICES } from '../tensor/devices.ts'
import { stripedDataset } from './striped-dataset.ts'

/** As small as it can be: the shim runs it thread by thread. */
const TINY = { hidden: 16, depth: 1, heads: 1, patch: 4, batch: 4, seed: 3 } as const
const STEPS = 6

/** Every line of a run's metrics, without what a clock says. */
function logOf(run: string): object[] {
  const lines = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n')
  return lines.map((line) => {
    const { seconds: _, imagesPerSecond: __, ...rest } = JSON.parse(line) as Record<string, unknown>
    return rest
  })
}

const STOPS: readonly { readonly what: string; readonly stop: (options: PretrainEncoderOptions) => Promise<void> }[] = [
  {
    what: 'its signal',
    stop: async (options) => {
      const controller = new AbortController()
      const onStep: PretrainEncoderOptions['onStep'] = ({ index }) => {
        if (index === 2) controller.abort()
      }
      const { encoder, step } = await pretrainEncoder({ ...options, signal: controller.signal, onStep })
      expect(encoder).toBeUndefined()
      expect(step).toBeLessThan(STEPS)
    },
  },
  {
    // The steps behind the first are under way then, and the checkpoint that is saved counts them.
    what: 'what its callback throws',
    stop: async (options) => {
      const onStep: PretrainEncoderOptions['onStep'] = () => {
        throw new Error('once')
      }
      await expect(pretrainEncoder({ ...options, onStep })).rejects.toThrow('once')
    },
  },
  {
    what: 'what its callback promises and does not keep',
    stop: async (options) => {
      const onStep: PretrainEncoderOptions['onStep'] = () => Promise.reject(new Error('later'))
      await expect(pretrainEncoder({ ...options, onStep })).rejects.toThrow('later')
    },
  },
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing).each(METHOD_NAMES)(`pretrainEncoder on ${device}: %s`, (method) => {
    test.each(STOPS)(
      'a run that was stopped by $what and resumed leaves what an unbroken one does',
      async ({ stop }) => {
        const data = stripedDataset()
        const [whole, broken] = [temporaryFolder(), temporaryFolder()]
        const options = { data, device, configuration: { ...TINY, method, steps: STEPS, checkpointEvery: 3 } }
        const before = memoryStats(device).liveBytes
        const result = await pretrainEncoder({ ...options, out: whole })
        expect(memoryStats(device).liveBytes, 'tensors that were left').toBe(before)
        expect(result).toMatchObject({ step: STEPS, encoder: join(whole, 'encoder.safetensors') })

        await stop({ ...options, out: broken })
        expect(existsSync(join(broken, 'encoder.safetensors'))).toBe(false)
        const second = await pretrainEncoder({ ...options, out: broken, configuration: {}, resume: true })
        expect(second.step).toBe(STEPS)
        for (const file of [
          'encoder.safetensors',
          'checkpoints/0000006/model.safetensors',
          'checkpoints/0000006/optimizer.safetensors',
        ]) {
          expect(readFileSync(join(broken, file)).equals(readFileSync(join(whole, file))), file).toBe(true)
        }
        expect(logOf(broken)).toEqual(logOf(whole))
      },
    )
  })
}
