#!/usr/bin/env node
// The last part of `npm run build:ts`: the modules that `import 'repa-native'` loads, some 160, go into one file, dist/library.js, for finding
// and reading so many took two fifths of the time that importing this package took. Each of them stays where it was and exports what is in
// that file, so that what is loaded later shares one class and one state with what was loaded first. The ten of them that the command line
// loads before it runs a command stay out: `--help` needs no more. Nothing is minified: a stack trace names our functions.
//   bundle-library.mjs DIST
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { build } from 'esbuild'

const dist = resolve(process.argv[2])
const outfile = join(dist, 'library.js')
const shared = { absWorkingDir: dist, format: 'esm', platform: 'node', packages: 'external', logLevel: 'warning' }

/** How an import in `from`'s folder names `path`. */
const specifier = (from, path) => {
  const name = relative(dirname(from), path).split(sep).join('/')
  return name.startsWith('.') ? name : `./${name}`
}

const commands = readdirSync(join(dist, 'cli/commands')).filter((file) => file.endsWith('.js'))
const commandLine = ['cli/main.js', ...commands.map((file) => `cli/commands/${file}`)]
const { inputs } = (
  await build({
    ...shared,
    entryPoints: ['index.js', ...commandLine],
    outdir: 'unwritten',
    bundle: true,
    splitting: true,
    write: false,
    metafile: true,
  })
).metafile

/** The modules, relative to dist, that loading `entry` loads. */
function loadedBy(entry, found = new Set()) {
  if (found.has(entry)) return found
  found.add(entry)
  for (const { path, kind, external } of inputs[entry].imports)
    if (kind === 'import-statement' && !external) loadedBy(path, found)
  return found
}

const before = new Set(commandLine.flatMap((entry) => [...loadedBy(entry)]))
const modules = [...loadedBy('index.js')].filter((module) => module !== 'zod.js' && !before.has(module))
for (const module of modules)
  if (module.includes('/') && readFileSync(join(dist, module), 'utf8').includes('import.meta'))
    throw new Error(
      `${module} asks where it is (import.meta), and import 'repa-native' loads it, which has it in another folder; import it where it is called.`,
    )

const { outputs } = (
  await build({
    ...shared,
    entryPoints: modules,
    outdir: 'unwritten',
    outbase: '.',
    write: false,
    metafile: true,
  })
).metafile

// Two modules may export one name; the library's own come first and keep theirs.
const taken = new Set()
const exportsOf = new Map(
  Object.values(outputs).map(({ entryPoint, exports }) => [
    entryPoint,
    exports.map((name) => {
      let inBundle = name
      for (let i = 2; taken.has(inBundle); i++) inBundle = `${name}${i}`
      taken.add(inBundle)
      return { name, inBundle }
    }),
  ]),
)

const renamed = (from, to) => (from === to ? from : `${from} as ${to}`)
const written = (names, path) => `export { ${names.join(', ')} } from '${path}';\n`
await build({
  ...shared,
  stdin: {
    contents: modules
      .map((module) => {
        const names = exportsOf.get(module).map(({ name, inBundle }) => renamed(name, inBundle))
        return written(names, `./${module}`)
      })
      .join(''),
    resolveDir: dist,
  },
  outfile,
  bundle: true,
  // A class's name is part of some messages.
  keepNames: true,
  sourcemap: 'linked',
  target: 'node20',
  plugins: [
    {
      name: 'the-rest-stays-where-it-is',
      setup({ onResolve }) {
        onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
          const target = join(resolveDir, path)
          const bundled = kind === 'import-statement' && modules.includes(relative(dist, target).split(sep).join('/'))
          return bundled ? undefined : { path: specifier(outfile, target), external: true }
        })
      },
    },
  ],
})

for (const module of modules) {
  const file = join(dist, module)
  const names = exportsOf.get(module).map(({ name, inBundle }) => renamed(inBundle, name))
  writeFileSync(file, written(names, specifier(file, outfile)))
  rmSync(`${file}.map`, { force: true })
}
