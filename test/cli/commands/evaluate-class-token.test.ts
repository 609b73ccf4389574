/** A model of REG is shown the class token of its run's encoder, or of the one that is named. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import type { TrainingOptions } from '../../../src/training/configuration.ts'
import { train } from '../../../src/training/run.ts'
import { tinyEncoder } from '../../alignment/tiny-encoder.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

const ENCODER = 'dinov2-vit-s' as const

/** Of one step, by an encoder in a file of its own. */
async function run() {
  const folder = temporaryFolder()
  const data = await tinyDataset(10, join(folder, 'data'))
  const file = await tinyEncoder(ENCODER, join(folder, 'encoder.safetensors'))
  const out = join(folder, 'run')
  const model = { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 4 } as const
  const shared = { batch: 4, steps: 1, alignDepth: 1, projectorWidth: 16, samples: { count: 1, steps: 1 } }
  const configuration = {
    model,
    ...shared,
    encoders: [{ name: ENCODER, file }],
    classTokenWeight: 0.03,
  } satisfies TrainingOptions
  await train({ data, out, configuration, device: 'cpu' })
  const probe = async (...words: string[]) => {
    const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
    const { signal } = new AbortController()
    const all = ['evaluate', 'probe', '--checkpoint', out, '--data', data, '--epochs', '1', ...words]
    return { status: await dispatch(all, { stdout, stderr, env: {}, signal }), stderr: stderr.text }
  }
  return { folder, file, probe }
}

test("it is that of the run's encoder, which is said", async () => {
  const { file, probe } = await run()
  const found = await probe()
  expect(found).toMatchObject({
    status: 0,
    stderr: expect.stringContaining(`class token: ${ENCODER} in ${file}, as in its run`),
  })
  // The one that is named is not said again.
  const named = await probe('--class-token-encoder', `${ENCODER}=${file}`)
  expect(named).toMatchObject({ status: 0, stderr: expect.not.stringContaining('as in its run') })
  const table = (text: string) => text.slice(text.indexOf('accuracy of'))
  expect(table(named.stderr)).toBe(table(found.stderr))
})

test.each([
  ['other weights', (file: string) => tinyEncoder(ENCODER, file, 4)],
  ['no file', (file: string) => rm(file)],
])('with %s where it was, it is to be named', async (_, change) => {
  const { folder, file, probe } = await run()
  await change(file)
  const lost = await probe()
  expect(lost.status).toBe(1)
  expect(lost.stderr).toContain(`that of ${ENCODER} in ${file}, which is not here or holds other weights.`)
  expect(lost.stderr).toContain('name the encoder that it was trained with by --class-token-encoder.')
  const warning = `holds other weights than the ${ENCODER} whose class token the model was trained with.`
  const moved = await tinyEncoder(ENCODER, join(folder, 'moved.safetensors'))
  expect(await probe('--class-token-encoder', `${ENCODER}=${moved}`)).toMatchObject({
    status: 0,
    stderr: expect.not.stringContaining(warning),
  })
  const another = await tinyEncoder(ENCODER, join(folder, 'another.safetensors'), 4)
  expect(await probe('--class-token-encoder', `${ENCODER}=${another}`)).toMatchObject({
    status: 0,
    stderr: expect.stringContaining(`warning: ${another} ${warning}\n`),
  })
})
