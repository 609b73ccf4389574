/** What CMake says of the machine before anything is compiled. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../conventions/source-files.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const WORDS = 'unsupported GNU version! gcc versions later than 12 are not supported!'
const NODE = `-DNODE_EXECUTABLE=${process.execPath}`

/** A folder with an nvcc that says so and does nothing. */
function nvccSaying(words: string, status: number): string {
  const bin = temporaryFolder()
  writeFileSync(join(bin, 'nvcc'), `#!/bin/sh\necho '${words}' >&2\nexit ${status}\n`, { mode: 0o755 })
  return bin
}

/** Configures where PATH begins with that of an nvcc. */
function configureIn(build: string, bin: string, options: readonly string[], CUDACXX?: string) {
  const { CUDACXX: _, ...others } = process.env
  const env = { ...others, PATH: `${bin}${delimiter}${process.env.PATH}`, ...(CUDACXX !== undefined && { CUDACXX }) }
  const { status, stderr } = spawnSync('cmake', ['-S', ROOT, '-B', build, NODE, ...options], { env, encoding: 'utf8' })
  // CMake breaks lines.
  return { status, words: stderr.replaceAll(/\s+/g, ' ') }
}

const configure = (...options: string[]) =>
  configureIn(join(temporaryFolder(), 'build'), nvccSaying(`nvcc fatal: ${WORDS}`, 1), options)

test('an nvcc that is there and fails is an error with its words, and no build without CUDA', () => {
  const { status, words } = configure()
  expect(status).toBe(1)
  expect(words).toContain(WORDS)
  expect(words).toContain('or build without CUDA (REPA_CUDA=off).')
  expect(words).not.toContain('glibc')
})

test('one that knows no glibc as new as this is said to be too old for it', () => {
  const words = 'math.h(206): error: exception specification is incompatible with that of previous function "rsqrt"'
  const configured = configureIn(join(temporaryFolder(), 'build'), nvccSaying(words, 2), [])
  expect(configured.status).toBe(1)
  expect(configured.words).toContain('This glibc is newer than the headers of this CUDA know')
})

test('after one that has failed, CUDACXX is asked', () => {
  const build = join(temporaryFolder(), 'build')
  const bin = nvccSaying(WORDS, 1)
  expect(configureIn(build, bin, []).words).toContain(WORDS)
  const { words } = configureIn(build, bin, [], join(nvccSaying('nvcc fatal: another', 1), 'nvcc'))
  expect(words).toContain('nvcc fatal: another')
  expect(words).not.toContain(WORDS)
})

test('one that CUDACXX has named is kept, and no other asked when it names none', () => {
  const build = join(temporaryFolder(), 'build')
  // Compiles, and is no compiler that CMake knows.
  const bin = nvccSaying(WORDS, 1)
  for (const CUDACXX of [join(nvccSaying('', 0), 'nvcc'), undefined]) {
    const { status, words } = configureIn(build, bin, [], CUDACXX)
    expect(status).toBe(1)
    expect(words).not.toContain(WORDS)
  }
})

test('is not asked where the build is to be without CUDA', () => {
  const { status, words } = configure('-DREPA_CUDA=OFF')
  expect({ status, words }).toEqual({ status: 0, words: '' })
})

test('is not asked where the build is for another machine, whose kernels it does not compile', () => {
  const target = ['-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64']
  const { status, words } = configure(...target)
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
  expect(options).toEqual(expect.arrayContaining([`-DREPA_CUDA=${cuda}`, NODE]))
})
