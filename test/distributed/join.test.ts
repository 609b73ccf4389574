/** Processes that a user's program starts. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')

test.each([
  [
    'twice',
    [
      'done',
      'This program has already started processes, and others would begin with the first job of the program, not with this one; ' +
        'do both in one job, or start the program by mpirun, srun or torchrun.',
    ],
  ],
  ['ends at once', ['process 1 of 2 has ended (exit status 0).']],
  ['throws no message', ['process 1 of 2: Error']],
])('a program that %s ends by itself, and says why', async (way, said) => {
  const words = ['--import', join(root, 'scripts/run-typescript.mjs')]
  const program = join(import.meta.dirname, 'programs/of-a-user.ts')
  // Its end is its own: nothing keeps it that has no reason to.
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [...words, program, way])
  expect({ stdout, stderr }).toEqual({ stdout: said.map((line) => `${line}\n`).join(''), stderr: '' })
})
