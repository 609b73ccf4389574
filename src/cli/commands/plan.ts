import { GPU_NAMES } from '../../benchmark/gpus.ts'
import type { TrainingPlan } from '../../planning/plan.ts'
import { formatBytes, formatCount, formatDuration, formatSignificant } from '../../report/quantity.ts'
import { RECOMPUTE_SETTINGS } from '../../tensor/recomputation.ts'
import { PRECISIONS } from '../../training/precision.ts'
import { defineCommand } from '../command.ts'
import type { Output } from '../output.ts'

export const planCommand = defineCommand({
  name: 'plan',
  summary: 'say what a recipe takes before it is begun: memory, work, days, disk',
  description:
    'RECIPE is the name of one of the package (repa plan --list names them) or a file like it. Its model, encoders and optimizer are built at full size and make a step on a device that computes shapes and no numbers: nothing is allocated, and neither the device nor the data have to be here. It is for a GPU, or --gpus of them, unless --device is cpu. Speed comes from the newest measured step; where there is none, it says that it is assumed.',
  positionals: { recipe: { placeholder: 'RECIPE', description: 'name of a recipe, or its file', optional: true } },
  options: {
    list: { type: 'boolean', default: false, description: 'name the recipes instead' },
    data: {
      type: 'string',
      placeholder: 'DATA',
      description: "a prepared data set, whose cached features save running their encoders [the recipe's description]",
    },
    gpu: {
      type: 'enum',
      values: GPU_NAMES,
      placeholder: 'NAME',
      description: `the GPU to plan for, which need not be here: ${GPU_NAMES.join(', ')} [H100]`,
    },
    gpus: { type: 'integer', min: 1, description: 'how many share every batch, a process each [1]' },
    batch: { type: 'integer', min: 1, description: "images a step [the recipe's]" },
    accumulate: { type: 'integer', min: 1, description: "passes in which a step goes through them [the recipe's, 1]" },
    recompute: {
      type: 'enum',
      values: RECOMPUTE_SETTINGS,
      description:
        "what the backward pass computes again instead of keeping it [the recipe's, auto: what is needed to fit]",
    },
    precision: {
      type: 'enum',
      values: PRECISIONS,
      description: "what the model computes in [the recipe's; bf16 on a GPU, fp32 on a CPU]",
    },
    steps: { type: 'integer', min: 1, description: "steps in all [the recipe's]" },
    shareOfPeak: {
      type: 'number',
      min: 0.001,
      max: 1,
      description: "take this share of the GPU's peak for its speed, not a measurement",
    },
  },
  examples: [
    { command: 'repa plan sit-xl-2-repa', description: "the paper's main row on an H100" },
    {
      command: 'repa plan own-images --data data/photos --gpu RTX-4090 --batch 32',
      description: 'your own images on the GPU of a desk',
    },
    { command: 'repa plan sit-xl-2-repa --gpus 8', description: 'the same on eight' },
    { command: 'repa plan sit-b-2-repa --device cpu --batch 4', description: 'why not to do it on a CPU' },
  ],
  // A step is made in one go, of as many passes as are asked for.
  endsAtOnce: true,
  async run(
    { recipe, list, data, gpu, gpus, batch, accumulate, recompute, precision, steps, shareOfPeak },
    { device, out },
  ) {
    if (list || recipe === undefined) return listRecipes(out)
    const { planTraining } = await import('../../planning/plan.ts')
    const plan = await planTraining({
      recipe,
      data,
      gpu,
      gpus,
      batch,
      accumulate,
      recompute,
      precision,
      steps,
      shareOfPeak,
      // A plan is for where the training will be, and `auto` says nothing of that: a GPU is what recipes are for.
      device: device === 'cpu' ? 'cpu' : 'cuda',
    })
    show(plan, out)
    out.json(plan)
  },
})

async function listRecipes(out: Output): Promise<void> {
  const { readRecipe, recipeNames } = await import('../../planning/recipe.ts')
  const recipes = await Promise.all((await recipeNames()).map(readRecipe))
  out.table(
    [{ heading: 'recipe' }, { heading: '' }],
    recipes.map(({ name, title }) => [name, title]),
  )
  out.json({ recipes: recipes.map(({ name, title, path }) => ({ name, title, path })) })
}

const LEFT = { heading: '' }
const right = (heading: string) => ({ heading, align: 'right' as const })

function show(plan: TrainingPlan, out: Output): void {
  const { title, machine, model, precision, batch, accumulate, steps, data, epochs, processes } = plan
  const threads = machine.threads === undefined ? '' : ` of ${machine.threads} threads`
  out.line(
    `${title}: ${model}, batch ${formatCount(batch)}${accumulate > 1 ? ` in ${accumulate} passes` : ''}, ${precision}, on ${processes > 1 ? `${processes} times` : machine.threads === undefined ? 'an' : 'a'} ${machine.name}${threads}`,
  )
  const told = data.withCaptions ? 'with captions' : `in ${formatCount(data.classes)} classes`
  out.line(
    `${data.name}: ${formatCount(data.images)} images of ${data.size} pixels ${told}; ` +
      `${formatCount(steps)} steps are ${formatSignificant(epochs, 3)} epochs`,
  )
  out.line()
  showParameters(plan, out)
  out.line()
  showMemory(plan, out)
  out.line()
  showWork(plan, out)
  out.line()
  showDisk(plan, out)
  out.line()
  showCommands(plan, out)
}

function showParameters({ parameters }: TrainingPlan, out: Output): void {
  const { trunk, embedders, projectors, total, encoders } = parameters
  out.table(
    [{ heading: 'parameters' }, right('')],
    [
      ['trunk', formatCount(trunk)],
      ['embedders', formatCount(embedders)],
      ...(projectors > 0 ? [['projectors', formatCount(projectors)]] : []),
      ['model', formatCount(total)],
      ...Object.entries(encoders).map(([name, count]) => [`${name}, frozen`, formatCount(count)]),
    ],
  )
}

function showMemory({ memory, machine, device, processes }: TrainingPlan, out: Output): void {
  const { activations } = memory
  const { blocks } = activations
  const [least, most] = [Math.min(...blocks), Math.max(0, ...blocks)]
  // A route makes some of them much smaller, and so does a backward pass that is in the last one at that moment.
  const each = `${blocks.length} blocks, ${least < 0.8 * most ? `${formatBytes(least)} to ` : ''}${formatBytes(most)} each`
  const rows: [string, number][] = [
    ['weights', memory.weights],
    ['low-precision copy', memory.lowPrecisionWeights],
    ['gradients', memory.gradients],
    ['moments of AdamW', memory.moments],
    ['EMA', memory.ema],
    ['encoder weights', memory.encoderWeights],
    ['encoder features', memory.encoderActivations],
    ['batch', memory.batch],
    [`activations: ${each}`, blocks.reduce((sum, bytes) => sum + bytes, 0)],
    ['activations: projectors', activations.projectors],
    ['activations: the rest', activations.embedders + activations.modulation + activations.head],
    ['gradients of activations', memory.activationGradients],
    ['workspace', memory.workspace],
    ['counters', memory.other],
  ]
  out.table(
    [{ heading: `memory${processes > 1 ? ' of each' : ''}, at its fullest moment` }, right('')],
    [
      ...rows.filter(([, bytes]) => bytes >= 2 ** 16).map(([name, bytes]) => [name, formatBytes(bytes)]),
      ['peak', formatBytes(memory.peak)],
      ['taken from the device', formatBytes(memory.taken)],
    ],
  )
  showFit(memory, machine, device, out)
}

function showFit(
  { fits, largestBatch, fewestPasses, recompute, takenPlain }: TrainingPlan['memory'],
  { name, memoryBytes }: TrainingPlan['machine'],
  device: TrainingPlan['device'],
  out: Output,
): void {
  const room = `${formatBytes(memoryBytes)} that ${device === 'cuda' ? `an ${name} has for tensors` : 'this machine has'}`
  if (recompute === 'elementwise') {
    out.line(
      'Activations, LayerNorms and every other state of the stream are computed again in the backward pass, with the same bits; ' +
        `kept, they would make it ${formatBytes(takenPlain)} (--recompute none).`,
    )
  }
  const passes = fewestPasses === undefined ? '' : `, and --accumulate ${fewestPasses} makes this one fit`
  if (fits) out.line(`It fits into the ${room}.`)
  else if (largestBatch === 0) out.warn(`Not even the smallest batch fits into the ${room}.`)
  else out.warn(`It does not fit into the ${room}; the largest batch that does is ${largestBatch}${passes}.`)
}

function showWork(
  { work, speed, seconds, batch, processes, cachedEncoders, notices }: TrainingPlan,
  out: Output,
): void {
  const tera = (flops: number) => `${formatSignificant(flops / 1e12, 4)} TFLOP`
  out.table(
    [{ heading: 'work of a step' }, right(''), right('an image')],
    [
      ['encoder', work.encoderFlops],
      ['forward', work.forwardFlops],
      ['backward', work.backwardFlops],
      ['in all', work.flops],
    ].map(([name, flops]) => [
      String(name),
      tera(Number(flops)),
      `${formatSignificant(Number(flops) / batch / 1e9, 4)} GFLOP`,
    ]),
  )
  for (const name of cachedEncoders) out.line(`${name} does not run: its features are with the data`)
  for (const sentence of notices) out.warn(sentence)
  out.line(`the optimizer reads and writes ${formatBytes(work.optimizerBytes)}`)
  if (processes > 1)
    out.line(`each GPU sends and receives ${formatBytes(work.exchangedBytes)} of gradients and weights`)
  out.line()
  if (!speed || seconds === undefined) {
    out.warn('No step has been measured in this precision on a CPU, so how long it takes is not known.')
    return
  }
  out.line(
    `${formatSignificant(speed.imagesPerSecond, 3)} images/s expected, ${formatSignificant(speed.imagesPerSecond / batch, 3)} steps/s, ` +
      `${formatDuration(seconds)} (${formatSignificant(seconds / 86_400, 3)} days) until the last step`,
  )
  if (speed.basis === 'assumed') out.warn(`The speed is ${speed.explanation}.`)
  else out.line(speed.explanation)
}

function showDisk({ disk }: TrainingPlan, out: Output): void {
  out.table(
    [{ heading: 'disk' }, right('')],
    [
      ['images', formatBytes(disk.images)],
      ...(disk.latents > 0 ? [['latents', formatBytes(disk.latents)]] : []),
      [
        `${disk.checkpoints.count} checkpoints of ${formatBytes(disk.checkpoint)}, all kept`,
        formatBytes(disk.checkpoints.bytes),
      ],
      [`${disk.grids.count} grids of samples, at most`, formatBytes(disk.grids.bytes)],
      ['in all', formatBytes(disk.total)],
      ...(disk.cachedFeatures > 0
        ? [["the encoders' features, where they are cached", formatBytes(disk.cachedFeatures)]]
        : []),
    ],
  )
}

function showCommands({ commands, evaluations }: TrainingPlan, out: Output): void {
  const figure = (name: string, value: number | undefined) => (value === undefined ? [] : [`${name} ${value}`])
  out.table(
    [{ heading: 'what is published' }, LEFT],
    evaluations.map(({ step, sampling, published, source }) => {
      const { mode, steps, cfgScale, interval } = sampling
      const guided = cfgScale === 1 ? 'no guidance' : `guidance ${cfgScale} in [${interval.join(', ')}]`
      const figures = published
        ? [
            ...figure('FID', published.fid),
            ...figure('sFID', published.sfid),
            ...figure('IS', published.is),
            ...figure('precision', published.precision),
            ...figure('recall', published.recall),
          ].join(', ')
        : 'nothing is published of this'
      return [`step ${formatCount(step)}, ${mode} ${steps}, ${guided}`, source ? `${figures} (${source})` : figures]
    }),
  )
  out.line()
  out.line(out.style.bold('commands'))
  const last = commands.evaluations.at(-1)!
  for (const command of [commands.prepare, commands.prepareHeldOut, commands.train, last.sample, last.evaluate])
    if (command) out.line(command)
}
