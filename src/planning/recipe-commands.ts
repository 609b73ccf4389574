import type { TrainingConfiguration } from '../training/configuration.ts'
import { checkpointName, RUN_LAYOUT } from '../training/run-layout.ts'
import { plannedEvaluations } from './planned-evaluations.ts'
import type { Recipe, RecipeData, RecipeEvaluation } from './recipe.ts'

/** What is typed for a recipe from its images to its figures. */
export interface RecipeCommands {
  /** Undefined where the data were given, for they are prepared. */
  readonly prepare: string | undefined
  /** Of the part whose captions are sampled, of a model of text. */
  readonly prepareHeldOut: string | undefined
  readonly train: string
  /** In the order of `plannedEvaluations`. */
  readonly evaluations: readonly { readonly sample: string; readonly evaluate: string | undefined }[]
}

/** What was given beside the recipe, or in place of what it says. */
export interface CommandOptions {
  /** What `repa train --config` takes for the recipe: its name or its file. Default: its name. */
  readonly config?: string
  /** A prepared data set. Default: the recipe's, which is to be prepared. */
  readonly data?: string | undefined
  /** Default: cuda. */
  readonly device?: 'cpu' | 'cuda'
  /** Default: 1. */
  readonly processes?: number
  /** Those given, and no others: the training takes the rest from the recipe too. */
  readonly settings?: Partial<Pick<TrainingConfiguration, 'batch' | 'accumulate' | 'recompute' | 'precision' | 'steps'>>
}

export function recipeCommands(recipe: Recipe, options: CommandOptions = {}): RecipeCommands {
  const { config = recipe.name, data, device = 'cuda', processes = 1, settings = {} } = options
  const { heldOut } = recipe.data
  const evaluations = plannedEvaluations(recipe, settings.steps ?? recipe.training.steps)
  return {
    prepare: data === undefined ? prepareCommand(recipe.data, recipe.data, processes) : undefined,
    // Its images and captions are looked at, and no latents.
    prepareHeldOut: heldOut && prepareCommand({ ...recipe.data, encoder: undefined }, heldOut, 1),
    train: line(['repa', 'train', '--config', config, '--data', data ?? recipe.data.folder, '--out', runOf(recipe)], {
      '--batch': settings.batch,
      '--accumulate': settings.accumulate,
      '--recompute': settings.recompute,
      '--precision': settings.precision,
      '--steps': settings.steps,
      // Where there is a GPU a training takes it.
      '--device': device === 'cpu' ? device : undefined,
      '--processes': processes > 1 ? processes : undefined,
      '--autoencoder': recipe.data.decoder,
    }),
    evaluations: evaluations.map((evaluation) => evaluationCommands(recipe, evaluation, evaluations, processes)),
  }
}

function prepareCommand(
  { size, flip, encoder }: Pick<RecipeData, 'size' | 'flip' | 'encoder'>,
  { source, folder, captions }: Pick<RecipeData, 'source' | 'folder' | 'captions'>,
  processes: number,
): string {
  return line(['repa', 'prepare', source, '--out', folder, '--size', size, ...(flip ? ['--flip'] : [])], {
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
  evaluations: readonly RecipeEvaluation[],
  processes: number,
): RecipeCommands['evaluations'][number] {
  const { mode, steps, timeShift, cfgScale, interval, num } = sampling
  const guided = samplesOf(recipe.name, { step, sampling })
  // One checkpoint may be sampled by the ODE and by the SDE.
  const isOnlyOne = evaluations.filter((other) => samplesOf(recipe.name, other) === guided).length === 1
  const samples = isOnlyOne ? guided : `${guided}-${mode}${steps}`
  const checkpoint = `${runOf(recipe)}/${RUN_LAYOUT.checkpoints}/${checkpointName(step)}`
  return {
    sample: line(
      ['repa', 'sample', '--checkpoint', checkpoint, '--out', samples, '--num', num, '--mode', mode, '--steps', steps],
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
      line(['repa', 'evaluate', 'fid', '--reference', recipe.reference, '--samples', `${samples}.npz`], {
        '--inception': 'weights/pt_inception-2015-12-05-6726825d.pth',
      }),
  }
}

function samplesOf(name: string, { step, sampling: { cfgScale, interval, timeShift } }: RecipeEvaluation): string {
  const [low, high] = interval
  const ends = `${low > 0 ? `-from${low}` : ''}${high < 1 ? `-to${high}` : ''}`
  const guidance = cfgScale === 1 ? '' : `-cfg${cfgScale}${ends}`
  return `samples/${name}-${step}${guidance}${timeShift === undefined ? '' : `-shift${timeShift}`}`
}

function line(
  words: readonly (string | number)[],
  flags: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const given = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]))
  return [...words, ...given].map(shellWord).join(' ')
}

/** As POSIX's shells (XCU 2.2.2) read it back: in single quotes where they would split or expand it. */
function shellWord(word: string | number): string {
  const text = String(word)
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
