/**
 * Recipes: what a row of the paper takes from data to figures, as files in `recipes/`. JSON with comments; `training` is what
 * `repa train --config` reads, `recipe` what surrounds it.
 */
import { statSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseJsonc } from '../configuration/jsonc.ts'
import { nearest } from '../configuration/nearest.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { AUTOENCODER_NAMES } from '../models/autoencoder-architecture.ts'
import { type TrainingConfiguration, trainingSchema } from '../training/configuration.ts'

const positive = z.int().positive()

const dataSchema = z.strictObject({
  /** What it is, for people: `ImageNet-1k`. */
  name: z.string(),
  /** What `repa prepare` is given, and where it writes. */
  source: z.string(),
  folder: z.string(),
  images: positive,
  classes: positive,
  /** Side of the square images in pixels. */
  size: positive,
  /** Stored latents [2C, h, w], mean and standard deviation, or points [C, h, w]. Without: the pixels are the latent. */
  latents: z.tuple([positive, positive, positive]).optional(),
  /** False: latents are points. */
  deviations: z.boolean().default(true),
  /** Whether the mirror images' latents are made too. */
  flip: z.boolean().default(false),
  /** Which autoencoder makes the latents as the run trains (`encodeLatents`). */
  autoencoder: z.enum(AUTOENCODER_NAMES).optional(),
  /** Where captions come from, as `repa prepare --captions` takes it; of a model of text. */
  captions: z.string().optional(),
  /** Another part of the set, prepared in the same way, whose captions are sampled. */
  heldOut: z.strictObject({ source: z.string(), folder: z.string(), captions: z.string() }).optional(),
  /** File of the autoencoder that encodes, and of the one that decodes samples. */
  encoder: z.string().optional(),
  decoder: z.string().optional(),
})

const samplingSchema = z.strictObject({
  mode: z.enum(['ode', 'sde', 'ddpm', 'ddim']),
  steps: positive,
  /** Of Euler's and Heun's ODE. */
  timeShift: z.number().positive().optional(),
  /** 1: no guidance. */
  cfgScale: z.number().min(1, 'expected 1, which is no guidance, or more').default(1),
  /** Times at which guidance is active. */
  interval: z.tuple([z.number().min(0).max(1), z.number().min(0).max(1)]).default([0, 1]),
  num: positive.default(50_000),
})

const figuresSchema = z.strictObject({
  fid: z.number().positive(),
  sfid: z.number().positive().optional(),
  is: z.number().positive().optional(),
  precision: z.number().min(0).max(1).optional(),
  recall: z.number().min(0).max(1).optional(),
})

const evaluationSchema = z.strictObject({
  /** After which training step. */
  step: positive,
  sampling: samplingSchema,
  /** As published; without: nothing is. */
  published: figuresSchema.optional(),
  source: z.string().optional(),
})

const recipeSchema = z
  .strictObject({
    training: trainingSchema,
    recipe: z.strictObject({
      title: z.string(),
      data: dataSchema,
      /** What the samples are compared with, as `repa evaluate fid --reference` takes it. */
      reference: z.string().optional(),
      evaluations: z.array(evaluationSchema).min(1),
    }),
  })
  .refine(
    ({ training, recipe }) => training.encodeLatents === (recipe.data.autoencoder !== undefined),
    'training.encodeLatents and recipe.data.autoencoder, which names what encodes, go together',
  )
  .refine(
    ({ training, recipe: { data } }) => (training.captionEncoder !== undefined) === (data.captions !== undefined),
    'training.captionEncoder and recipe.data.captions, which it encodes, go together',
  )
  .refine(
    ({ recipe: { data } }) => (data.captions !== undefined) === (data.heldOut !== undefined),
    'recipe.data.captions and recipe.data.heldOut, whose captions are sampled, go together',
  )
  .refine(
    ({ recipe: { data } }) => data.autoencoder === undefined || (data.latents ?? data.encoder) === undefined,
    'recipe.data has either latents, which a file encoder makes before, or the autoencoder that makes them',
  )

export type RecipeData = z.output<typeof dataSchema>
export type RecipeEvaluation = z.output<typeof evaluationSchema>

export interface Recipe {
  /** The file's name without its extension. */
  readonly name: string
  readonly path: string
  readonly title: string
  readonly training: TrainingConfiguration
  readonly data: RecipeData
  readonly reference: string | undefined
  readonly evaluations: readonly RecipeEvaluation[]
}

/** The package's own, beside `dist/` or `src/`. */
const FOLDER = fileURLToPath(new URL('../../recipes', import.meta.url))
const EXTENSION = '.jsonc'

/** The names of the package's recipes. */
export async function recipeNames(): Promise<string[]> {
  return (await readdir(FOLDER))
    .filter((file) => file.endsWith(EXTENSION))
    .map((file) => basename(file, EXTENSION))
    .sort()
}

/**
 * The file that a name or path means: a file that is there, else the package's recipe of that name.
 *
 * @throws {Error} that names the recipes, where it means neither
 */
export async function findRecipe(nameOrPath: string): Promise<string> {
  // Not a folder: a run may have its recipe's name.
  if (statSync(nameOrPath, { throwIfNoEntry: false })?.isDirectory() === false) return nameOrPath
  const names = await recipeNames()
  if (names.includes(nameOrPath)) return join(FOLDER, nameOrPath + EXTENSION)
  const right = nearest(nameOrPath, names)
  throw new Error(
    `There is neither a file ${nameOrPath} nor a recipe of that name${right ? `; did you mean ${right}?` : '.'} ` +
      `The recipes are ${names.join(', ')}.`,
  )
}

/** A recipe by its name or path. Throws where the file is no recipe, naming every field that is wrong. */
export async function readRecipe(nameOrPath: string): Promise<Recipe> {
  const path = await findRecipe(nameOrPath)
  const { training, recipe } = parseConfiguration(recipeSchema, await readJsonc(path), path)
  const { title, data, reference, evaluations } = recipe
  return { name: basename(path, EXTENSION), path, title, training, data, reference, evaluations }
}

/** The value of a file of JSON with comments. */
export async function readJsonc(path: string): Promise<unknown> {
  return parseJson(await readFile(path, 'utf8'), path, { parse: parseJsonc })
}
