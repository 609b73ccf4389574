import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import { ROOT } from '../conventions/source-files.ts'

type Surface = Map<string, readonly string[]>

/** Functions of `interface NativeAddon` with the names of their parameters. */
function declared(): Surface {
  const path = join(ROOT, 'src/native-addon.ts')
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2023, true)
  const addon = source.statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === 'NativeAddon',
  )!
  return new Map(
    addon.members
      .filter(ts.isMethodSignature)
      .map((method) => [method.name.getText(), method.parameters.map((parameter) => parameter.name.getText())]),
  )
}

/** Entries of a table of exports: `{"name", bind<…>, {"argument", …}}` or `{"name", [](…) …}`. */
function exported(file: string): Surface {
  const text = readFileSync(join(ROOT, 'native/addon', file), 'utf8')
  const table = text.slice(text.indexOf('const Export kExports[]'))
  const entries = table.matchAll(/^ {4}\{"(\w+)",\s*(?:bind<[\w:]+>,\s*\{([^}]*)\})?/gm)
  return new Map(
    [...entries].map(([, name, args = '']) => [name!, [...args.matchAll(/"(\w+)"/g)].map(([, argument]) => argument!)]),
  )
}

test('every op of the addon is declared with the same arguments in the same order, and nothing else is', () => {
  const ops = new Map([
    ...exported('ops.cpp'),
    ...[...exported('communicator.cpp')].filter(([, args]) => args.length > 0),
  ])
  const others = ['communicator.cpp', 'device.cpp', 'tensor.cpp']
    .flatMap((file) => [...exported(file).keys()])
    .filter((name) => !ops.has(name))
  expect(ops.size).toBeGreaterThan(50)
  expect(others.length).toBeGreaterThan(10)
  const declarations = declared()
  expect([...declarations.keys()].sort()).toEqual([...ops.keys(), ...others].sort())
  for (const [name, args] of ops) expect([name, declarations.get(name)]).toEqual([name, args])
})

test('the addon that loads exports what is declared', () => {
  const exports = Object.entries(native())
    .filter(([, value]) => typeof value === 'function')
    .map(([name]) => name)
  expect(exports.sort()).toEqual([...declared().keys()].sort())
})
