import { join, relative } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { PAGES, programsOf } from './pages.ts'
import { ROOT } from './source-files.ts'

/** Types that a program only hands on, and what a type of its own is made of. */
const INTERNAL = ['NativeTensor', 'HostArrays']

const entry = join(ROOT, 'src/index.ts')
const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  ROOT,
)
const programs = new Map(PAGES.flatMap(programsOf))
const host = ts.createCompilerHost(options)
const { fileExists, readFile } = host
host.fileExists = (path) => programs.has(path) || fileExists(path)
host.readFile = (path) => programs.get(path) ?? readFile(path)
const program = ts.createProgram(
  [entry, ...programs.keys()],
  // A program of a page ends where it has shown something.
  { ...options, noUnusedLocals: false, paths: { 'repa-native': [entry] } },
  host,
)
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

/** What a job of jobs.ts loads: the declaration of `(await import(MODULE)).NAME`, whose signature its own type repeats without names. */
function loadedBy(declaration: ts.Declaration): ts.Declaration[] {
  const found: ts.Declaration[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node) && ts.isParenthesizedExpression(node.expression)) {
      const symbol = checker.getSymbolAtLocation(node.name)
      if (symbol) found.push(...(resolved(symbol).declarations ?? []))
    }
    ts.forEachChild(node, visit)
  }
  if (ts.isVariableDeclaration(declaration)) visit(declaration)
  return found
}

/**
 * The same of what a function or a constructor takes and gives, by its types: a job's own declaration, in jobs.ts, says no more than how it
 * is loaded. Of what it takes a program writes the parts as well, so that they are looked at one level down.
 */
function unnameableTypes(symbol: ts.Symbol): string[] {
  const found = new Set<string>()
  const seen = new Map<ts.Type, number>()
  const visit = (type: ts.Type, levels: number): void => {
    if (type.flags & ts.TypeFlags.TypeParameter || (seen.get(type) ?? -1) >= levels) return
    seen.set(type, levels)
    const { aliasSymbol: alias, aliasTypeArguments: given = [] } = type
    for (const argument of given) visit(argument, levels)
    let below = levels
    if (alias && isOurs(alias)) {
      if (!published.has(alias)) found.add(alias.name)
      if (below-- === 0) return
    }
    if (type.isUnionOrIntersection()) {
      for (const part of type.types) visit(part, below)
      return
    }
    // The items of arrays and tuples, what a promise gives.
    if (type.flags & ts.TypeFlags.Object) {
      for (const argument of checker.getTypeArguments(type as ts.TypeReference)) visit(argument, below)
    }
    const own = type.getSymbol()
    if (!own || !isOurs(own)) return
    if (own.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class)) {
      if (!published.has(own)) found.add(own.name)
      // A program is given an instance and does not write it; what its methods take is the class' own row.
      if (own.flags & ts.SymbolFlags.Class || below-- === 0) return
    }
    for (const part of type.getProperties()) visit(checker.getTypeOfSymbol(part), below)
    for (const signature of type.getCallSignatures()) visitSignature(signature, below)
  }
  const visitSignature = (signature: ts.Signature, levels: number) => {
    for (const parameter of signature.parameters) visit(checker.getTypeOfSymbol(parameter), levels)
    visit(signature.getReturnType(), 0)
  }
  const type = checker.getTypeOfSymbol(symbol)
  for (const signature of [...type.getCallSignatures(), ...type.getConstructSignatures()]) {
    const { declaration } = signature
    if (declaration && ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private) continue
    visitSignature(signature, 1)
  }
  return [...found].filter((name) => !INTERNAL.includes(name))
}

const isOfTypesAlone = ({ declarations = [] }: ts.Symbol) =>
  declarations.some((one) => ts.isExportSpecifier(one) && (one.isTypeOnly || one.parent.parent.isTypeOnly))
const values = exports
  .filter((symbol) => !isOfTypesAlone(symbol))
  .map(resolved)
  .filter((symbol) => symbol.flags & ts.SymbolFlags.Value)

/** What the compiler says of a file, with the lines in it. */
function complaintsOf(path: string): string[] {
  const file = program.getSourceFile(path)!
  const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
  return found.map(({ start, messageText }) => {
    const { line } = file.getLineAndCharacterOfPosition(start ?? 0)
    return `line ${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

describe('the programs of the pages', () => {
  test('are found', () => {
    expect(programs.size).toBeGreaterThan(2)
  })

  test.each([...programs.keys()].map((path) => [relative(ROOT, path), path] as const))(
    '%s is right by its types',
    (_, path) => {
      expect(complaintsOf(path)).toEqual([])
    },
  )
})

describe.each(values.map((symbol) => [symbol.name, symbol] as const))('%s', (_, symbol) => {
  test('says what it is', () => {
    expect(ts.displayPartsToString(symbol.getDocumentationComment(checker))).not.toBe('')
  })

  test('names no type that a program could not name', () => {
    const declarations = symbol.declarations ?? []
    expect([...declarations, ...declarations.flatMap(loadedBy)].flatMap(unnameable)).toEqual([])
    expect(unnameableTypes(symbol)).toEqual([])
  })
})
