// Makes .offline/repa-native-VERSION-PLATFORM.tar.xz: Node, the addon, the compiled library, the suite and its runner, for a
// machine with a GPU and neither Node nor a network, as clusters are:
//     tar xf repa-native-….tar.xz && ./repa-native/repa doctor && ./repa-native/test-gpu
//     ./repa-native/gpu-session OUT    all of it, and how fast everything is, as JSON under OUT
//   --shared DIR        also the golden vectors of DIR (its folder golden) that test-gpu verifies
//   --architecture 90   kernels for that compute capability alone, 9.0 here: 3 MiB less
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { keepArchitecture } from './fatbin.mjs'
import { goldenSubset } from './golden-subset.mjs'
import { FILES, PACKAGES } from './offline-contents.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const name = `repa-native-${version}-${process.platform}-${process.arch}`
const offline = join(root, '.offline')
const folder = join(offline, 'repa-native')
const archive = join(offline, `${name}.tar.xz`)

/** What no program reads: types' declarations, maps to sources, documents of packages. */
const UNREAD = /\.(d\.[cm]?ts|map)$|\/node_modules\/.*\.(md|markdown)$/
const ADDON = 'build/Release/repa_native.node'

/** Folders of the packages and all that they depend on, as the lock file has them and this machine has installed them. */
function packageFolders() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const found = new Set()
  const visit = (dependency, from) => {
    // As Node looks: beside the package that asks, then further up.
    for (let base = from; ; base = base.slice(0, Math.max(0, base.lastIndexOf('/node_modules/')))) {
      const key = `${base ? `${base}/` : ''}node_modules/${dependency}`
      if (packages[key]) {
        if (found.has(key) || !existsSync(join(root, key))) return
        found.add(key)
        const { dependencies, optionalDependencies } = packages[key]
        for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) visit(next, key)
        return
      }
      if (!base) return
    }
  }
  for (const dependency of PACKAGES) visit(dependency, '')
  return [...found]
}

function fail(sentence) {
  console.error(`pack:offline: ${sentence}`)
  process.exit(1)
}

for (const [path, command] of [
  [ADDON, 'npm run build:native'],
  ['dist', 'npm run build:ts'],
]) {
  if (!existsSync(join(root, path))) fail(`${path} is not there; run ${command} first.`)
}
const option = (name) => {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : (process.argv[at + 1] ?? '')
}
const shared = option('--shared')
if (shared !== undefined && !existsSync(join(shared, 'golden', 'manifest.json')))
  fail(`--shared ${shared} has no golden/manifest.json.`)
const architecture = option('--architecture')
if (architecture !== undefined && !/^[1-9]\d+$/.test(architecture))
  fail(`--architecture is a compute capability without its point, 90 say; got "${architecture}".`)

rmSync(folder, { recursive: true, force: true })
mkdirSync(join(folder, 'bin'), { recursive: true })
// A package's own folder only: what lies nested in it is in the list where it is needed.
const copy = (path) =>
  cpSync(join(root, path), join(folder, path), {
    recursive: true,
    dereference: true,
    filter: (source) => !relative(join(root, path), source).split('/').includes('node_modules') && !UNREAD.test(source),
  })
for (const path of [...FILES, ADDON, ...packageFolders()]) if (existsSync(join(root, path))) copy(path)
const conformance = 'build/conformance'
if (existsSync(join(root, conformance))) {
  const dump = spawnSync(
    join(root, 'build/cmake/native/simt/simt_conformance'),
    [join(root, conformance, 'shim-dump')],
    { stdio: 'inherit' },
  )
  if (dump.status !== 0)
    fail('the shim could not say what each instruction gives (build/cmake/native/simt/simt_conformance).')
  copy(conformance)
}
if (shared) {
  const manifest = goldenSubset(
    JSON.parse(readFileSync(join(shared, 'golden/manifest.json'), 'utf8')),
    JSON.parse(readFileSync(join(root, 'test/gpu/golden-kinds.json'), 'utf8')),
  )
  const to = join(folder, 'shared/golden')
  for (const file of manifest.cases.flatMap(({ files }) => Object.keys(files)))
    cpSync(join(shared, 'golden', file), join(to, file), { dereference: true })
  writeFileSync(join(to, 'manifest.json'), JSON.stringify(manifest))
}
cpSync(process.execPath, join(folder, 'bin/node'), { dereference: true })
for (const program of ['bin/node', ADDON, join(conformance, 'conformance')].map((path) => join(folder, path))) {
  if (!existsSync(program)) continue
  // Symbols are a sixth of Node's size, and nothing here reads them.
  spawnSync('strip', [program], { stdio: 'ignore' })
  if (architecture === undefined || program.endsWith('bin/node')) continue
  const bytes = readFileSync(program)
  try {
    keepArchitecture(bytes, Number(architecture))
  } catch (error) {
    fail(`${relative(folder, program)}: ${error.message}`)
  }
  writeFileSync(program, bytes)
}
const script = (entry) => `#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
[ -d "$here/shared" ] && : "\${REPA_SHARED:=$here/shared}" && export REPA_SHARED
exec "$here/bin/node" "$here/${entry}" "$@"
`
writeFileSync(join(folder, 'repa'), script('dist/cli/main.js'), { mode: 0o755 })
for (const program of ['test-gpu', 'gpu-session'])
  writeFileSync(join(folder, program), script(`scripts/${program}.mjs`), { mode: 0o755 })

const packed = spawnSync('tar', ['-cJf', archive, '-C', offline, 'repa-native'], {
  stdio: 'inherit',
  // The filter makes the addresses that x86-64's calls hold absolute, so that calls of one function look alike: 4 % of Node.
  env: { ...process.env, XZ_OPT: `${process.arch === 'x64' ? '--x86 ' : ''}--lzma2=preset=9e,dict=128MiB` },
})
if (packed.status !== 0) fail('tar could not write the archive; it and xz must be installed.')
rmSync(folder, { recursive: true, force: true })
console.log(`${relative(root, archive)}: ${(statSync(archive).size / 2 ** 20).toFixed(1)} MiB`)
