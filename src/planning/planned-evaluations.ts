import type { Recipe, RecipeEvaluation } from './recipe.ts'

/**
 * What is to be sampled and measured of a recipe's run of so many steps: those of its evaluations whose checkpoints the run keeps, and
 * its last checkpoint in any case, where the recipe has nothing of that step sampled as the recipe's last one is. Never none.
 */
export function plannedEvaluations(
  { evaluations, training: { checkpointEvery } }: Pick<Recipe, 'evaluations' | 'training'>,
  steps: number,
): readonly RecipeEvaluation[] {
  const kept = evaluations.filter(({ step }) => step === steps || (step < steps && step % checkpointEvery === 0))
  if (kept.some(({ step }) => step === steps)) return kept
  // Its figures are another step's.
  return [...kept, { step: steps, sampling: evaluations.at(-1)!.sampling }]
}
