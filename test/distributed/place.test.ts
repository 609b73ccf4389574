import { expect, test } from 'vitest'
import { placeOf } from '../../src/distributed/place.ts'

const address = { MASTER_ADDR: 'node01', MASTER_PORT: '4321' }

test.each([
  ['nothing', {}, undefined],
  ['a launcher of one process', { OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }, undefined],
  // The shell of a batch job is no step of srun's.
  ["a batch job's shell", { SLURM_PROCID: '0', SLURM_NTASKS: '8', SLURM_LOCALID: '0' }, undefined],
  [
    'torchrun',
    { ...address, RANK: '5', WORLD_SIZE: '8', LOCAL_RANK: '1' },
    { rank: 5, size: 8, localRank: 1, host: 'node01', port: 4321, token: '', launcher: 'torchrun' },
  ],
  [
    'torchrun, whose agent listens at the port',
    { ...address, RANK: '1', WORLD_SIZE: '2', LOCAL_RANK: '1', TORCHELASTIC_USE_AGENT_STORE: 'True' },
    { rank: 1, size: 2, localRank: 1, host: 'node01', port: 4322, token: '', launcher: 'torchrun' },
  ],
  [
    "Open MPI's mpirun, by PyTorch's port",
    { MASTER_ADDR: 'a', OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2', OMPI_COMM_WORLD_LOCAL_RANK: '0' },
    { rank: 1, size: 2, localRank: 0, host: 'a', port: 29500, token: '', launcher: 'mpirun' },
  ],
  [
    'mpiexec, all on one machine',
    { ...address, PMI_RANK: '3', PMI_SIZE: '4' },
    { rank: 3, size: 4, localRank: 3, host: 'node01', port: 4321, token: '', launcher: 'mpiexec' },
  ],
  [
    'srun',
    { ...address, SLURM_PROCID: '9', SLURM_STEP_NUM_TASKS: '16', SLURM_NTASKS: '16', SLURM_LOCALID: '1' },
    { rank: 9, size: 16, localRank: 1, host: 'node01', port: 4321, token: '', launcher: 'srun' },
  ],
  [
    "srun with Slurm's PMI",
    { ...address, PMI_RANK: '9', PMI_SIZE: '16', SLURM_PROCID: '9', SLURM_STEP_NUM_TASKS: '16', SLURM_LOCALID: '1' },
    { rank: 9, size: 16, localRank: 1, host: 'node01', port: 4321, token: '', launcher: 'srun' },
  ],
  [
    'mpiexec, one of whose processes a step of srun has for each machine',
    {
      ...address,
      PMI_RANK: '9',
      PMI_SIZE: '16',
      MPI_LOCALRANKID: '1',
      SLURM_PROCID: '1',
      SLURM_STEP_NUM_TASKS: '2',
      SLURM_LOCALID: '0',
    },
    { rank: 9, size: 16, localRank: 1, host: 'node01', port: 4321, token: '', launcher: 'mpiexec' },
  ],
  [
    'repa itself, inside a step of srun',
    { ...address, REPA_RANK: '1', REPA_PROCESSES: '2', REPA_TOKEN: 't', SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '4' },
    { rank: 1, size: 2, localRank: 1, host: 'node01', port: 4321, token: 't', launcher: 'repa' },
  ],
])('by the environment of %s', (_, env, place) => {
  expect(placeOf(env)).toEqual(place)
})

test.each([
  [
    { RANK: '1', WORLD_SIZE: '2' },
    "the environment of torchrun's processes: MASTER_ADDR is missing: the name of the machine of process 0 was expected",
  ],
  [{ ...address, RANK: 'one', WORLD_SIZE: '2' }, 'RANK is "one": a whole number was expected'],
  [{ ...address, MASTER_PORT: '70000', RANK: '1', WORLD_SIZE: '2' }, 'MASTER_PORT is "70000"'],
])('%j is refused', (env, message) => {
  expect(() => placeOf(env)).toThrow(message)
})
