import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const native = join(import.meta.dirname, '../../native')

/** What each of them, and what it brings along, costs nvcc a file of kernels: from a third of a second to one. */
const SLOW = ['functional', 'iostream', 'map', 'memory', 'sstream', 'stdexcept', 'string']

function headersOf(file: string, seen = new Set<string>()): Set<string> {
  const includes = readFileSync(join(native, file), 'utf8').matchAll(/^#include ["<]([^">]+)[">]/gm)
  for (const [, header] of includes) {
    if (seen.has(header!)) continue
    seen.add(header!)
    // nvcc reads none of the shim's.
    if (!header!.startsWith('simt/') && existsSync(join(native, header!))) headersOf(header!, seen)
  }
  return seen
}

const kernels = readdirSync(join(native, 'cuda'))
  .filter((name) => name.endsWith('.cu'))
  .map((name) => `cuda/${name}`)

test('files of kernels read no header of the standard library that takes nvcc long', () => {
  const slow = kernels.map((file) => [file, [...headersOf(file)].filter((header) => SLOW.includes(header))] as const)
  expect(slow.filter(([, headers]) => headers.length > 0)).toEqual([])
  expect(kernels.length).toBeGreaterThan(50)
})
