import { stat } from 'node:fs/promises'
import type { Prompts } from '../diffusion/sample-images.ts'
import type { Device } from '../tensor/device.ts'
import type { LoadedModel } from '../training/load-model.ts'
import { openCaptionEncoder } from './caption-encoder.ts'
import { UsageError } from './failure.ts'
import type { Output } from './output.ts'

/** Options of what samples a model of text. */
export const PROMPT_OPTIONS = {
  prompt: {
    type: 'string',
    placeholder: 'TEXT',
    description: 'of a model of text: the caption of the images; of several in turn',
    repeated: true,
  },
  prompts: {
    type: 'string',
    placeholder: 'FILE',
    description: 'the same from a file, a caption a line, or the first of each image of a prepared data set',
  },
  captionEncoder: {
    type: 'string',
    placeholder: 'FILE',
    description: "what encodes them: CLIP's text encoder, file or folder [that of the checkpoint's run]",
  },
} as const

interface PromptArguments {
  readonly prompt: readonly string[] | undefined
  readonly prompts: string | undefined
  readonly captionEncoder: string | undefined
  readonly classes: readonly number[] | undefined
}

/**
 * The captions that the options name and what encodes them; undefined for a model of classes, of which they name none.
 *
 * @throws {UsageError} where model and options do not go together
 */
export async function openPrompts(
  args: PromptArguments,
  loaded: Pick<LoadedModel, 'model' | 'captionEncoder'>,
  where: { readonly device: Device; readonly out: Output },
): Promise<Prompts | undefined> {
  const { prompt = [], prompts: file, captionEncoder: named, classes } = args
  if (!loaded.model.text && (prompt.length > 0 || file !== undefined)) {
    const flag = prompt.length > 0 ? '--prompt' : '--prompts'
    throw new UsageError(`${flag} is of a model of text, and this one is told classes; name them by --classes.`)
  }
  if (loaded.model.text && classes) {
    throw new UsageError('--classes is of a model of classes, and this one is told captions; leave it out.')
  }
  const captions = [...prompt, ...(file === undefined ? [] : await captionsIn(file))]
  if (loaded.model.text && captions.length === 0) {
    throw new UsageError('The model is told captions; name what to sample by --prompt TEXT, or --prompts FILE of many.')
  }
  const encoder = await openCaptionEncoder(named, loaded, where)
  return encoder && { captions, encoder }
}

/** The lines of a file, a blank one being the empty caption, or the first caption of each image of a data set. */
async function captionsIn(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) {
    const { captionOfEachLine } = await import('../data/captions.ts')
    const captions = await captionOfEachLine(path)
    if (captions.length > 0) return captions
    throw new UsageError(`--prompts ${path} has no line; write a caption on each, a blank line for the empty one.`)
  }
  const [{ Dataset }, { EMPTY_CAPTION }] = await Promise.all([
    import('../data/dataset.ts'),
    import('../text/encoded-captions.ts'),
  ])
  const { captions } = await Dataset.open(path)
  if (captions) return captions.map(([first]) => first ?? EMPTY_CAPTION)
  throw new UsageError(
    `--prompts ${path} is a data set without captions; prepare it with --captions, or name a file of them.`,
  )
}
