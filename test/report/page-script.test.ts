import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Script } from 'node:vm'
import { expect, test } from 'vitest'
import { pageScript } from '../../src/report/page-script.ts'
import { ROOT, sourceFiles } from '../conventions/source-files.ts'

const dist = join(ROOT, 'dist/report/page-script.js')

test('the modules join to one script that a page can hold', async ({ skip }) => {
  // Throws where a name is declared twice.
  new Script(pageScript())
  expect(pageScript()).not.toMatch(/<\/script|<!--|^\s*(?:import|export) /m)
  for (const file of sourceFiles('src/report/page', ['.ts'])) {
    const names = [...sourceOf(file).matchAll(/^export (?:function|class) (\w+)/gm)].map(([, name]) => name!)
    for (const name of names) expect(pageScript(), file).toMatch(new RegExp(`^(?:function|class) ${name}\\b`, 'm'))
  }
  if (!existsSync(dist)) skip('dist is not built: npm run build:ts')
  const built = (await import(pathToFileURL(dist).href)) as { pageScript: () => string }
  new Script(built.pageScript())
  expect(declared(built.pageScript())).toEqual(declared(pageScript()))
})

function declared(script: string): string[] {
  return [...script.matchAll(/^(?:async )?(?:function|class) (\w+)/gm)].map(([, name]) => name!)
}

function sourceOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}
