/** What the addon asks of a system: no more than Node 20 does (native/portability/glibc_2_28.cpp). */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const addon = join(import.meta.dirname, '../../build/Release/repa_native.node')

const says = (program: string, ...words: string[]) => {
  const { status, stdout } = spawnSync(program, words, { encoding: 'utf8' })
  return status === 0 ? stdout : undefined
}
const isNewer = (version: string, than: string) => {
  const [[a = 0, b = 0] = [], [c = 0, d = 0] = []] = [version, than].map((text) => text.split('.').map(Number))
  return a > c || (a === c && b > d)
}

test('the addon loads from glibc 2.28 on, whatever libstdc++ is there', ({ skip }) => {
  const { glibcVersionRuntime } = (process.report!.getReport() as { header: { glibcVersionRuntime?: string } }).header
  if (!glibcVersionRuntime) skip('this system has no glibc')
  const symbols = says('objdump', '-T', addon)
  if (symbols === undefined) skip('there is no objdump here, or no addon')
  // ADDRESS FLAGS SECTION SIZE (VERSION) NAME
  const wanted = symbols!.split('\n').flatMap((line) => {
    const found = line.match(/\*UND\*\s+\S+\s+\(?([A-Z]+)_([\d.]+)\)?\s+(\S+)$/)
    return found ? [{ library: found[1]!, version: found[2]!, name: found[3]! }] : []
  })
  expect(wanted.map(({ name }) => name)).toContain('pthread_create')
  const tooNew = wanted.filter(({ library, version }) => library === 'GLIBC' && isNewer(version, '2.28'))
  expect(tooNew, 'give each a line in native/portability/glibc_2_28.cpp').toEqual([])

  const archive = says(process.env.CXX || 'c++', '-print-file-name=libstdc++.a')?.trim()
  if (!archive?.includes('/')) skip('the compiler has no libstdc++.a to put inside')
  expect(wanted.filter(({ library }) => /^(GLIBCXX|CXXABI)$/.test(library))).toEqual([])
})
