/** What CMake says of the machine before anything is compiled. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { ROOT } from './source-files.ts'

const WORDS = 'unsupported GNU version! gcc versions later than 12 are not supported!'

function configure(...options: string[]) {
  const folder = temporaryFolder()
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'nvcc'), `#!/bin/sh\necho "nvcc fatal: ${WORDS}" >&2\nexit 1\n`, { mode: 0o755 })
  const { CUDACXX: _, ...others } = process.env
  const env = { ...others, PATH: `${bin}${delimiter}${process.env.PATH}` }
  const build = join(folder, 'build')
  const { status, stderr } = spawnSync('cmake', ['-S', ROOT, '-B', build, ...options], { env, encoding: 'utf8' })
  // CMake breaks lines.
  return { status, words: stderr.replaceAll(/\s+/g, ' '), build }
}

test('an nvcc that is there and fails is an error with its words, and no build without CUDA', () => {
  const { status, words } = configure(`-DNODE_EXECUTABLE=${process.execPath}`)
  expect(status).toBe(1)
  expect(words).toContain(WORDS)
  expect(words).toContain('or build without CUDA (REPA_CUDA=off).')
})

test('is not asked where the build is to be without CUDA', () => {
  const { status, words } = configure(`-DNODE_EXECUTABLE=${process.execPath}`, '-DREPA_CUDA=OFF')
  expect({ status, words }).toEqual({ status: 0, words: '' })
})

test('is not asked where the build is for another machine, whose kernels it does not compile', () => {
  const target = ['-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64']
  const { status, words } = configure(`-DNODE_EXECUTABLE=${process.execPath}`, ...target)
  expect({ status, words }).toEqual({ status: 0, words: '' })
})

test.each([
  { name: 'with CUDA', env: {}, words: [], cuda: 'ON' },
  { name: 'without, by the environment', env: { REPA_CUDA: 'off' }, words: [], cuda: 'OFF' },
  { name: 'without, by its flag', env: {}, words: ['--no-cuda'], cuda: 'OFF' },
])('what build-native.mjs asks of CMake: $name', ({ env, words, cuda }) => {
  const folder = temporaryFolder()
  const asked = join(folder, 'asked')
  for (const [tool, does] of [
    ['cmake', `echo "$@" >> ${asked}; echo cmake version 3.25.1`],
    ['g++', ''],
    ['make', ''],
  ]) {
    writeFileSync(join(folder, tool!), `#!/bin/sh\n${does}\n`, { mode: 0o755 })
  }
  const script = join(ROOT, 'scripts/build-native.mjs')
  const { status } = spawnSync(process.execPath, [script, ...words], { env: { ...env, PATH: folder } })
  expect(status).toBe(0)
  const options = readFileSync(asked, 'utf8').split(/\s/)
  // A Node that an earlier build found may be gone: what a command line defines, CMake takes over what its cache holds.
  expect(options).toEqual(expect.arrayContaining([`-DREPA_CUDA=${cuda}`, `-DNODE_EXECUTABLE=${process.execPath}`]))
})
