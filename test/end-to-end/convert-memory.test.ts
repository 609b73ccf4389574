import { randomFillSync } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeCheckpointFolder } from '../../src/conversion/checkpoint-folder.ts'
import type { TensorSources } from '../../src/conversion/training-checkpoint.ts'
import type { TensorSource } from '../../src/formats/tensor-source.ts'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { transformerConfigSchema } from '../../src/models/transformer-kinds.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { modelSetting, trainingSchema } from '../../src/training/configuration.ts'
import { tinyState } from '../conversion/tiny-checkpoint.ts'
import { Program } from './program.ts'

const model = transformerConfigSchema.parse({
  kind: 'SiT',
  depth: 1,
  hidden: 1024,
  heads: 16,
  patch: 2,
  inputSize: [8, 8],
  channels: 4,
  classes: 10,
  alignDepth: 1,
  alignWidths: [],
  classDropout: 0.1,
})
const entries = transformerEntries(model)
const largest = Math.max(...entries.map(({ shape }) => 4 * elementCount(shape)))

let program: Program

beforeAll(async () => {
  program = await Program.build()
  const noise = (shape: readonly number[]): TensorSource => ({
    dtype: 'f32',
    shape,
    data: async () => randomFillSync(new Uint8Array(4 * elementCount(shape))),
  })
  const sources = (trainable: boolean): TensorSources =>
    new Map(
      entries
        .filter(({ parameter }) => !trainable || parameter.trainable)
        .map(({ name, shape }) => [name, noise(shape)]),
    )
  const training = trainingSchema.parse({ model: modelSetting(model), alignDepth: 1 })
  await writeCheckpointFolder(join(program.work, 'checkpoint'), {
    state: { ...tinyState, model, configuration: { data: '', training } },
    tensors: {
      weights: sources(false),
      ema: sources(false),
      firstMoments: sources(true),
      secondMoments: sources(true),
    },
  })
})

afterAll(() => program[Symbol.asyncDispose]())

/** The most memory that a conversion had, in bytes. */
async function peakOf(input: string, output: string): Promise<number> {
  const { stdout, stderr } = await program.script(
    `import { convert } from './dist/conversion/convert.js'
     await convert(${JSON.stringify(input)}, ${JSON.stringify(output)}, { force: true })
     console.log(process.resourceUsage().maxRSS)`,
  )
  expect(stderr).toBe('')
  return Number(stdout) * 1024
}

test('a training checkpoint goes both ways in less memory than two of its largest tensors', async () => {
  // Node and all modules, with next to nothing to convert.
  const { stdout, status } = await program.script(
    `import './dist/conversion/convert.js'
     import { writeTorchCheckpoint } from './dist/formats/torch-checkpoint-writer.js'
     await writeTorchCheckpoint('nothing.pt', { x: { dtype: 'f32', shape: [1], data: new Uint8Array(4) } })
     console.log(process.resourceUsage().maxRSS)`,
  )
  expect(status).toBe(0)
  const base = Number(stdout) * 1024
  const conversions = [
    ['checkpoint', 'whole.pt'],
    ['whole.pt', 'back'],
    ['whole.pt', 'ema.safetensors'],
    ['ema.safetensors', 'ema.pt'],
  ] as const
  for (const [input, output] of conversions) {
    const rise = (await peakOf(input, output)) - base
    expect(rise, `${input} to ${output}: ${(rise / largest).toFixed(2)} of ${largest} bytes`).toBeLessThan(2 * largest)
  }
  expect((await stat(join(program.work, 'whole.pt'))).size).toBeGreaterThan(10 * largest)
})
