import { expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

test('a read or a wait that is refused does not keep the process alive', () => {
  const { status, signal, stdout, stderr } = runProgram('refused-read')
  const refused = (what: string) =>
    `${what} is not possible while a step is captured on cuda:0: do it before or after.\n`
  expect({ status, signal, stdout, stderr }).toEqual({
    status: 0,
    signal: null,
    stdout: refused('Reading a tensor') + refused('Waiting'),
    stderr: '',
  })
})
