import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { type Device, resolveDevice, usableGpus } from '../tensor/device.ts'
import { Communicator } from './communicator.ts'
import { FollowingGroup } from './following-group.ts'
import { reasonOf } from './group.ts'
import { JoinedWorld } from './joined-world.ts'
import { LeadingGroup, listen } from './leading-group.ts'
import { OtherProcesses, threadsOfEach } from './other-processes.ts'
import { type Place, placeOf } from './place.ts'
import { ALONE, type World } from './world.ts'

export interface JoinOptions {
  /** How many processes are to do the job together. Undefined: this one alone. */
  readonly processes: number | undefined
  /** What the user calls the device: `auto`, `cpu`, `cuda` or `cuda:N`. */
  readonly device: string
}

const argumentsSchema = whenNeeded(() =>
  z.strictObject({ processes: z.int().positive().optional(), device: z.string(), job: aFunction() } satisfies Record<
    keyof JoinOptions | 'job',
    z.ZodType
  >),
)

/**
 * Runs a job with the processes that mpirun, srun or torchrun has started beside this one, or with ones that this one starts: as many times
 * this program with these arguments. On GPUs each process has its own; on the CPU they share the cores. When `job` throws in one of them,
 * it ends in all of them, and the leader's error says in which; the device then reports it until `resetDevice`. An AbortError, as a signal's
 * reason is by itself, ends the others by StoppedByAnother.
 *
 * Processes that this one starts run the program from its beginning, and take part in the first job that they come to: a program has them
 * once. What follows the job runs in them too, until this one ends them some seconds later.
 *
 * @throws {ConfigurationError} for options that are none; {Error} where a launcher has started another number of processes, there are too few GPUs, or the others do not come
 */
export async function withProcesses<Result>(
  options: JoinOptions,
  job: (world: World, device: Device) => Promise<Result>,
): Promise<Result> {
  parseConfiguration(argumentsSchema(), { ...options, job }, 'withProcesses')
  const { processes = 1, device } = options
  const place = placeOf(process.env)
  if (place && place.size !== processes) {
    throw new Error(
      `${place.launcher} has started ${place.size} processes of this, and \`processes: ${processes}\` says otherwise; ` +
        `give \`processes: ${place.size}\` to all of them, or start one.`,
    )
  }
  if (processes === 1) return job(ALONE, resolveDevice(device))
  if (!place) return withOthersOf(processes, device, job)
  const own = deviceAt(place, device)
  if (place.rank > 0) {
    const { group, id } = await FollowingGroup.join(place)
    return within(await JoinedWorld.open(group, { ...place, device: own, id }), own, job)
  }
  // On all addresses: the leader's name may be that of one that the others see.
  const server = await listen(undefined, place.port).catch((error: Error) => {
    throw new Error(
      `Process 0 cannot listen at port ${place.port} (${error.message}); set MASTER_PORT to another one for all of them.`,
    )
  })
  const { group, id } = await LeadingGroup.gather(server, {
    ...place,
    id: () => Communicator.id(own, place.size),
    oneMachine: own === 'cpu',
  })
  return within(await JoinedWorld.open(group, { ...place, device: own, id }), own, job)
}

let hasStartedOthers = false

/** Leads processes that this one starts. */
async function withOthersOf<Result>(
  size: number,
  device: string,
  job: (world: World, device: Device) => Promise<Result>,
): Promise<Result> {
  if (hasStartedOthers) {
    throw new Error(
      'This program has already started processes, and others would begin with the first job of the program, not with this one; ' +
        'do both in one job, or start the program by mpirun, srun or torchrun.',
    )
  }
  process.env.REPA_THREADS ??= String(threadsOfEach(size))
  const own = firstOf(size, device)
  const server = await listen('127.0.0.1', 0)
  const { port } = server.address() as AddressInfo
  const token = randomBytes(16).toString('hex')
  hasStartedOthers = true
  let others: OtherProcesses
  try {
    others = new OtherProcesses(size, { MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port), REPA_TOKEN: token })
  } catch (error) {
    server.close()
    throw error
  }
  try {
    const { group, id } = await LeadingGroup.gather(server, {
      size,
      token,
      lost: others.lost,
      id: () => Communicator.id(own, size),
      oneMachine: own === 'cpu',
    })
    return await within(await JoinedWorld.open(group, { device: own, id, rank: 0, size }), own, job)
  } finally {
    await others.end()
  }
}

async function within<Result>(
  world: JoinedWorld,
  device: Device,
  job: (world: World, device: Device) => Promise<Result>,
): Promise<Result> {
  try {
    const result = await job(world, device)
    await world.leave()
    return result
  } catch (error) {
    const isStop = error instanceof Error && error.name === 'AbortError'
    const { stopped } = world
    world.fail(reasonOf(error), isStop)
    throw isStop ? error : (stopped ?? error)
  }
}

/** The leader's device, where the others' are the next ones of this machine. */
function firstOf(size: number, device: string): Device {
  if (/^cuda:\d+$/.test(device)) {
    throw new Error(`${size} processes have a GPU each, and \`device\` ${device} is one; take \`device\` cuda.`)
  }
  const first = resolveDevice(device)
  if (first === 'cpu') return first
  const count = usableGpus().length
  if (count < size) {
    throw new Error(
      `${size} processes have a GPU each, and this machine has ${count}; take \`processes: ${count}\`, or \`device\` cpu.`,
    )
  }
  return first
}

/** The device of a process that a launcher has started: its GPU by its number on the machine, or the only one that it is shown. */
function deviceAt({ localRank, launcher }: Place, device: string): Device {
  const first = resolveDevice(device)
  if (first === 'cpu' || device === first) return first
  const gpus = usableGpus()
  if (gpus.length === 1) return first
  const own = gpus[localRank]
  if (own) return `cuda:${own.ordinal}`
  throw new Error(
    `${launcher} has started process ${localRank} (from 0) of this machine, which has ${gpus.length} GPUs for them.`,
  )
}
