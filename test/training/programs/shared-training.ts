// One of several processes that train together, by one request after another: what it makes of a first step, and of some more, as JSON.
import { withProcesses } from '../../../src/distributed/join.ts'
import type { World } from '../../../src/distributed/world.ts'
import { resetDevice } from '../../../src/tensor/device.ts'
import type { Trainer } from '../../../src/training/trainer.ts'
import type { TrainerOptions, TrainingStep } from '../../../src/training/trainer-options.ts'
import { BATCH, CASES, digestOf, makeFirstStep, modelOf, steps, tinyTrainer } from '../tiny-trainer.ts'

/** What a test asks of the first `processes` of them. */
export interface Request {
  /** Where the leader listens for this one. */
  readonly port: number
  readonly device: string
  readonly processes: number
  /** A place in CASES. */
  readonly table: number
  readonly data: string
  readonly options: Partial<Omit<TrainerOptions, 'model' | 'data' | 'world' | 'align' | 'selfAlign'>>
  /** A run's folder, to save in after some steps. */
  readonly saves?: string
  /** A checkpoint to go on from, which has as many steps. */
  readonly restores?: string
  /** Gradients are exchanged after the backward pass, and weights are waited for after the step. */
  readonly atOnce?: boolean
  /** The job ends with its trainer alive. */
  readonly keepsTrainer?: boolean
  /** Process 1 has another seed. */
  readonly disagree?: boolean
  /** This process wants to stop once it has seen so many steps of twenty; no other does. */
  readonly stop?: { readonly rank: number; readonly after: number }
}

export interface Report {
  readonly rank: number
  /** The gradients as base64 of float32. */
  readonly first: { readonly step: TrainingStep; readonly gradients: string }
  /** Of weights, moments and EMA after some steps. */
  readonly digest: string
  readonly losses: number[]
  /** Made by the run that was to be stopped. */
  readonly stoppedAt: number | undefined
}

/** What a process says of a request: a report, or why it failed; null of one that is not for it. */
export type Answer = { readonly report: Report } | { readonly failed: string } | null

async function answer(request: Request): Promise<Answer> {
  const { processes, port, device } = request
  if (Number(process.env.RANK) >= processes) return null
  Object.assign(process.env, { WORLD_SIZE: String(processes), MASTER_PORT: String(port) })
  try {
    return { report: await withProcesses({ processes, device }, (world, own) => train(request, world, own)) }
  } catch (error) {
    resetDevice(device)
    return { failed: (error as Error).message }
  }
}

function exchangeAtOnce({ optimizer, model }: Trainer): void {
  const { exchange } = optimizer
  const begin = exchange.begin.bind(exchange)
  const finish = exchange.finish.bind(exchange)
  const step = optimizer.step.bind(optimizer)
  exchange.begin = () => {}
  exchange.finish = () => {
    exchange.begin = begin
    finish()
    exchange.begin = () => {}
  }
  optimizer.step = (...all) => {
    step(...all)
    model.arena.settle()
  }
}

async function train(request: Request, world: World, device: string): Promise<Report> {
  const { data, options, disagree, stop } = request
  const table = CASES[request.table]!
  const more = { ...options, world, ...(disagree && world.rank === 1 && { seed: 5 }) }
  const { step, gradients } = await makeFirstStep(table, data, { ...more, device })
  using model = modelOf(table, device)
  const trainer = await tinyTrainer(model, data, { ...table.options, ...more, batch: BATCH })
  await using _ = request.keepsTrainer ? undefined : trainer
  if (request.atOnce) exchangeAtOnce(trainer)
  if (request.restores !== undefined) await trainer.restore(request.restores)
  const losses = (await steps(trainer, 3)).map(({ loss }) => loss)
  if (request.saves !== undefined) await trainer.save(request.saves)
  const digest = await digestOf(trainer)
  let stoppedAt: number | undefined
  if (stop) {
    const controller = new AbortController()
    for await (const { index } of trainer.run({ steps: 20, signal: controller.signal })) {
      if (world.rank === stop.rank && index === stop.after) controller.abort()
    }
    stoppedAt = trainer.isStopped ? trainer.step : undefined
  }
  const first = { step, gradients: Buffer.from(gradients.buffer).toString('base64') }
  return { rank: world.rank, first, digest, losses, stoppedAt }
}

const requests = JSON.parse(process.argv[2]!) as Request[]
const answers: Answer[] = []
for (const request of requests) answers.push(await answer(request))
process.stdout.write(JSON.stringify(answers), () => process.exit(0))
