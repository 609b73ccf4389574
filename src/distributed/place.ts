/** Which of several processes this one is, where something else has started them all. */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'

/** One process among several. */
export interface Place {
  readonly rank: number
  readonly size: number
  /** Its number on its machine, and so that of its GPU. */
  readonly localRank: number
  /** Where the leader listens. */
  readonly host: string
  readonly port: number
  /** Known to the processes alone. */
  readonly token: string
  /** What has started them. */
  readonly launcher: string
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Launchers, and the variables in which each says a process's rank, how many there are, and its number on its machine. Slurm's are those of a
 * step that srun began: the shell of a batch job has others of its name, and is no process of the job's.
 */
const LAUNCHERS = [
  { launcher: 'repa', rank: 'REPA_RANK', size: 'REPA_PROCESSES', localRank: 'REPA_RANK' },
  { launcher: 'torchrun', rank: 'RANK', size: 'WORLD_SIZE', localRank: 'LOCAL_RANK' },
  {
    launcher: 'mpirun',
    rank: 'OMPI_COMM_WORLD_RANK',
    size: 'OMPI_COMM_WORLD_SIZE',
    localRank: 'OMPI_COMM_WORLD_LOCAL_RANK',
  },
  { launcher: 'mpiexec', rank: 'PMI_RANK', size: 'PMI_SIZE', localRank: 'MPI_LOCALRANKID' },
  { launcher: 'srun', rank: 'SLURM_PROCID', size: 'SLURM_STEP_NUM_TASKS', localRank: 'SLURM_LOCALID' },
] as const

const wholeNumber = z.string().regex(/^\d+$/, 'a whole number was expected').transform(Number)

/**
 * Whether srun's own variables say what a PMI's do: then Slurm has started this by its PMI, which does not say the number on a machine. An
 * mpiexec inside a step of srun has other numbers.
 */
const isSlurmsPmi = (env: Environment) =>
  env.MPI_LOCALRANKID === undefined && env.PMI_RANK === env.SLURM_PROCID && env.PMI_SIZE === env.SLURM_STEP_NUM_TASKS

const addressSchema = z.object({
  MASTER_ADDR: z.string({ error: 'the name of the machine of process 0 was expected' }).min(1),
  MASTER_PORT: wholeNumber.pipe(z.number().min(1).max(65_535)).default(29_500),
  REPA_TOKEN: z.string().default(''),
})

/**
 * This process's place; undefined where nothing has started it among others.
 *
 * @throws {ConfigurationError} where the environment says one thing and lacks another
 */
export function placeOf(env: Environment): Place | undefined {
  const found = LAUNCHERS.find(
    ({ launcher, rank, size }) =>
      env[rank] !== undefined && env[size] !== undefined && !(launcher === 'mpiexec' && isSlurmsPmi(env)),
  )
  if (!found || env[found.size] === '1') return undefined
  const { launcher } = found
  const said = parseConfiguration(
    z.object({ [found.rank]: wholeNumber, [found.size]: wholeNumber, [found.localRank]: wholeNumber.optional() }),
    Object.fromEntries([found.rank, found.size, found.localRank].map((name) => [name, env[name]])),
    `the environment of ${launcher}`,
  )
  const size = said[found.size]!
  const rank = said[found.rank]!
  // Without it, all are on one machine.
  const localRank = said[found.localRank] ?? rank
  const { MASTER_ADDR, MASTER_PORT, REPA_TOKEN } = parseConfiguration(
    addressSchema,
    { MASTER_ADDR: env.MASTER_ADDR, MASTER_PORT: env.MASTER_PORT, REPA_TOKEN: env.REPA_TOKEN },
    `the environment of ${launcher}'s processes`,
  )
  // torchrun's agent listens there itself for PyTorch's processes, and says so; the next port is a convention of ours.
  const port = launcher === 'torchrun' && env.TORCHELASTIC_USE_AGENT_STORE === 'True' ? MASTER_PORT + 1 : MASTER_PORT
  return { rank, size, localRank, host: MASTER_ADDR, port, token: REPA_TOKEN, launcher }
}
