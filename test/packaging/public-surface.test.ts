import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { ROOT } from './source-files.ts'

/** Types that a program only hands on, and what a type of its own is made of. */
const INTERNAL = ['NativeTensor', 'HostArrays']

const entry = join(ROOT, 'src/index.ts')
const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  ROOT,
)
const program = ts.createProgram([entry], options)
const checker = program.getTypeChecker()
const exports = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)!)!)
const resolved = (symbol: ts.Symbol) =>
  symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
const published = new Set(exports.map(resolved))

const isOurs = (symbol: ts.Symbol) => symbol.declarations?.[0]?.getSourceFile().fileName.startsWith(join(ROOT, 'src'))

/** Parts of a declaration that nobody outside sees: bodies, and private and protected members. */
function isHidden(node: ts.Node): boolean {
  if (ts.isBlock(node)) return true
  if (!ts.isClassElement(node)) return false
  const modifiers = ts.getCombinedModifierFlags(node)
  if (modifiers & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) return true
  return node.name !== undefined && ts.isPrivateIdentifier(node.name)
}

/** Names of our types that a declaration's signatures name and the library does not give a program. */
function unnameable(declaration: ts.Node): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (isHidden(node)) return
    if (ts.isTypeReferenceNode(node)) {
      const symbol = checker.getSymbolAtLocation(node.typeName)
      const type = symbol && resolved(symbol)
      if (type && isOurs(type) && !(type.flags & ts.SymbolFlags.TypeParameter) && !published.has(type)) {
        found.push(type.name)
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(declaration)
  return found.filter((name) => !INTERNAL.includes(name))
}

/** The function itself, behind the one that loads it at its first call. */
function signaturesOf(symbol: ts.Symbol): readonly ts.Node[] {
  const type = checker.getTypeOfSymbol(symbol)
  const called = type.getCallSignatures().flatMap(({ declaration, parameters }) => {
    const types = parameters.flatMap((parameter) => parameter.declarations ?? [])
    return declaration && symbol.valueDeclaration !== declaration.parent ? [declaration, ...types] : types
  })
  return [...(symbol.declarations ?? []), ...called]
}

const isOfTypesAlone = ({ declarations = [] }: ts.Symbol) =>
  declarations.some((one) => ts.isExportSpecifier(one) && (one.isTypeOnly || one.parent.parent.isTypeOnly))
const values = exports
  .filter((symbol) => !isOfTypesAlone(symbol))
  .map(resolved)
  .filter((symbol) => symbol.flags & ts.SymbolFlags.Value)

describe.each(values.map((symbol) => [symbol.name, symbol] as const))('%s', (_, symbol) => {
  test('says what it is', () => {
    expect(ts.displayPartsToString(symbol.getDocumentationComment(checker))).not.toBe('')
  })

  test('names no type that a program could not name', () => {
    expect(signaturesOf(symbol).flatMap(unnameable)).toEqual([])
  })
})
