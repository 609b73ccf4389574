import { expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

test('a process that ends while a kernel runs ends well', () => {
  // Where it is interrupted is chance.
  const ends = Array.from({ length: 20 }, () => {
    const { status, signal, stderr } = runProgram('exit-in-a-kernel')
    return { status, signal, stderr }
  })
  expect(ends).toEqual(Array(20).fill({ status: 0, signal: null, stderr: '' }))
})
