/** Weights that become a checkpoint, or another code's training: the run that goes on with them is of their model. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { type SiTConfig, sitConfigSchema } from '../../src/models/sit.ts'
import { modelStatement } from '../../src/models/stated-model.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import type { TrainingOptions } from '../../src/training/configuration.ts'
import { train } from '../../src/training/run.ts'
import { tinyEncoder } from '../alignment/tiny-encoder.ts'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeClipFolder } from '../text/clip-folder.ts'
import { referenceCheckpoint, tinyModel, tinyRegModel, tinyTextModel } from './tiny-checkpoint.ts'

/** As wide as `tinyEncoder` makes features. */
const WIDTH = 64
const SELF_ALIGNED: SiTConfig = sitConfigSchema.parse({ ...tinyModel, depth: 7, alignWidths: [], selfAlignment: true })

const STEP_0 = 'There is no optimizer state in it: the checkpoint is of step 0, its EMA equal to the weights.'
const CLASS_TOKEN =
  "The file does not tell the weight of the class token's loss: 0.03 assumed; `classTokenWeight` sets it."
const selfAlignment = (block: number) =>
  `The file does not tell how the model was aligned with its own average: a weight of 0.2, as SRA's code has it, and block ${block} with the ` +
  "average's block 5 assumed; `selfAlignWeight`, `selfAlignDepth` and `selfAlignTeacherDepth` set them."

const MODELS: readonly {
  readonly name: string
  readonly model: SiTConfig
  readonly settings: TrainingOptions
  readonly notes: readonly string[]
}[] = [
  { name: 'REPA', model: { ...tinyModel, alignWidths: [WIDTH] }, settings: { projector: 'mlp' }, notes: [] },
  {
    name: 'REG',
    model: { ...tinyRegModel, alignWidths: [WIDTH], classTokenWidth: WIDTH },
    settings: { classTokenWeight: 0.03 },
    notes: [CLASS_TOKEN],
  },
  {
    name: 'self-alignment',
    model: SELF_ALIGNED,
    settings: { selfAlignWeight: 0.2, alignDepth: 1 },
    notes: [selfAlignment(1)],
  },
  {
    name: 'a convolution',
    model: { ...tinyModel, alignWidths: [WIDTH], projector: 'conv' },
    settings: { projector: 'conv' },
    notes: [],
  },
  { name: 'captions', model: { ...tinyTextModel, alignWidths: [WIDTH] }, settings: {}, notes: [] },
]

describe.each(MODELS)('$name', ({ model, settings, notes }) => {
  test('weights become a checkpoint from which a run goes on', async () => {
    const folder = temporaryFolder()
    const [file, run] = [join(folder, 'weights.safetensors'), join(folder, 'run')]
    const data = await captionedDataset(4)
    const config = { ...model, ...(!model.text && { classes: (await Dataset.open(data)).classes }) }
    const weights = [...referenceCheckpoint(config).ema].map(([name, tensor]) => ({ name, ...tensor }))
    await writeSafetensors(file, weights, { metadata: modelStatement(config) })
    const converted = await convert(file, join(run, 'checkpoints/0000000'))
    expect(converted.notes).toEqual([STEP_0, ...notes])
    const encoders = config.alignWidths.map(() => ({
      name: 'dinov2-vit-b' as const,
      file: join(folder, 'encoder.safetensors'),
    }))
    if (encoders.length > 0) await tinyEncoder('dinov2-vit-b', encoders[0]!.file)
    const { step, checkpoint } = await train({
      data,
      out: run,
      resume: true,
      device: 'cpu',
      configuration: {
        steps: 2,
        batch: 2,
        samples: { count: 1, steps: 1 },
        encoders,
        ...(config.text && { captionEncoder: { file: await writeClipFolder(join(folder, 'clip')) } }),
      },
    })
    expect(step).toBe(2)
    expect(await readCheckpointState(checkpoint)).toMatchObject({ step: 2, updates: 2, model: config })
    expect(JSON.parse(await readFile(join(run, 'config.json'), 'utf8'))).toMatchObject({ training: settings })
  })

  test("another code's training does, with the same settings", async () => {
    const folder = temporaryFolder()
    const [file, run] = [join(folder, 'training.pt'), join(folder, '0000007')]
    const { args, ...rest } = referenceCheckpoint(model)
    const { cls: _, ...others } = args as typeof args & { cls?: number }
    await writeTorchCheckpoint(file, { ...rest, args: { ...others, encoder_depth: model.alignDepth } })
    const converted = await convert(file, run, { heads: 2 })
    // Tensors without projectors tell of no block: it is that of a run of a model of free sizes.
    const told = notes.map((note) => (note === selfAlignment(1) ? selfAlignment(2) : note))
    expect(converted.notes.filter((note) => /class token|own average/.test(note))).toEqual(told)
    const { alignDepth: _block, ...known } = settings
    expect(await readCheckpointState(run)).toMatchObject({ configuration: { training: known } })
  })
})

test.each([
  [28, 8, 20],
  [3, 1, 2],
])(
  "SRA's weight and blocks are its code's: of %i blocks, block %i with the average's block %i",
  async (depth, block, teacher) => {
    const folder = temporaryFolder()
    const model = { ...SELF_ALIGNED, depth }
    const weights = [...referenceCheckpoint(model).ema].map(([name, tensor]) => ({ name, ...tensor }))
    await writeSafetensors(join(folder, 'sra.safetensors'), weights)
    const { notes } = await convert(join(folder, 'sra.safetensors'), join(folder, 'sra'), { heads: 2 })
    expect(notes).toContainEqual(
      expect.stringContaining(`and block ${block} with the average's block ${teacher} assumed`),
    )
  },
)
