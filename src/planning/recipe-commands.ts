import { CHECKPOINTS, checkpointName } from '../training/checkpoint-files.ts'
import type { Recipe, RecipeData, RecipeEvaluation } from './recipe.ts'

/** What is typed for a recipe from its images to its figures. */
export interface RecipeCommands {
  readonly prepare: string
  /** Of the part whose captions are sampled, of a model of text. */
  readonly prepareHeldOut: string | undefined
  readonly train: string
  /** In the order of the recipe's evaluations. */
  readonly evaluations: readonly { readonly sample: string; readonly evaluate: string | undefined }[]
}

export function recipeCommands(recipe: Recipe, processes: number): RecipeCommands {
  const { name, data, evaluations } = recipe
  return {
    prepare: prepareCommand(data, data, processes),
    // Its images and captions are looked at, and no latents.
    prepareHeldOut: data.heldOut && prepareCommand({ ...data, encoder: undefined }, data.heldOut, 1),
    train: line(['repa train --config', name, '--data', data.folder, '--out', runOf(recipe)], {
      '--processes': processes > 1 ? processes : undefined,
      '--autoencoder': data.decoder,
    }),
    evaluations: evaluations.map((evaluation) => evaluationCommands(recipe, evaluation, processes)),
  }
}

function prepareCommand(
  { size, flip, encoder }: Pick<RecipeData, 'size' | 'flip' | 'encoder'>,
  { source, folder, captions }: Pick<RecipeData, 'source' | 'folder' | 'captions'>,
  processes: number,
): string {
  return line(['repa prepare', source, '--out', folder, '--size', size, ...(flip ? ['--flip'] : [])], {
    '--captions': captions,
    '--autoencoder': encoder,
    // Images alone are one process's work.
    '--processes': processes > 1 && encoder !== undefined ? processes : undefined,
  })
}

const runOf = ({ name }: Recipe) => `runs/${name}`

function evaluationCommands(
  recipe: Recipe,
  { step, sampling }: RecipeEvaluation,
  processes: number,
): RecipeCommands['evaluations'][number] {
  const { mode, steps, timeShift, cfgScale, interval, num } = sampling
  const guided = samplesOf(recipe.name, { step, sampling })
  // One checkpoint may be sampled by the ODE and by the SDE.
  const isOnlyOne = recipe.evaluations.filter((other) => samplesOf(recipe.name, other) === guided).length === 1
  const samples = isOnlyOne ? guided : `${guided}-${mode}${steps}`
  const checkpoint = `${runOf(recipe)}/${CHECKPOINTS}/${checkpointName(step)}`
  return {
    sample: line(
      ['repa sample --checkpoint', checkpoint, '--out', samples, '--num', num, '--mode', mode, '--steps', steps],
      {
        '--processes': processes > 1 ? processes : undefined,
        '--prompts': recipe.data.heldOut?.folder,
        '--time-shift': timeShift,
        '--cfg-scale': cfgScale,
        '--guidance-low': cfgScale === 1 ? undefined : interval[0],
        '--guidance-high': cfgScale === 1 ? undefined : interval[1],
        '--autoencoder': recipe.data.decoder,
        '--npz': recipe.reference && `${samples}.npz`,
      },
    ),
    evaluate:
      recipe.reference &&
      line(['repa evaluate fid --reference', recipe.reference, '--samples', `${samples}.npz`], {
        '--inception': 'weights/pt_inception-2015-12-05-6726825d.pth',
      }),
  }
}

function samplesOf(name: string, { step, sampling: { cfgScale, interval } }: RecipeEvaluation): string {
  const guidance = cfgScale === 1 ? '' : `-cfg${cfgScale}${interval[1] < 1 ? `-to${interval[1]}` : ''}`
  return `samples/${name}-${step}${guidance}`
}

function line(
  words: readonly (string | number)[],
  flags: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const given = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]))
  return [...words, ...given].join(' ')
}
