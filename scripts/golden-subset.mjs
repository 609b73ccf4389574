// The part of a golden set that verifies some kinds of files: those files, and the ones that they are computed from.

const matches = (kind, pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`).test(kind)

/** Every string in a file's arguments. */
function strings(value) {
  if (typeof value === 'string') return [value]
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(strings) : []
}

/**
 * A manifest of the files whose kind fits one of the patterns (`*` stands for anything), and of all that their arguments name.
 * @param {{ cases: { files: Record<string, { kind: string, args?: unknown }> }[] }} manifest
 * @param {readonly string[]} kinds
 */
export function goldenSubset(manifest, kinds) {
  const files = Object.assign({}, ...manifest.cases.map((goldenCase) => goldenCase.files))
  const wanted = new Set()
  const want = (path) => {
    if (!(path in files) || wanted.has(path)) return
    wanted.add(path)
    for (const named of strings(files[path].args)) want(named)
  }
  for (const [path, { kind }] of Object.entries(files)) if (kinds.some((pattern) => matches(kind, pattern))) want(path)
  const cases = manifest.cases.map((goldenCase) => ({
    ...goldenCase,
    files: Object.fromEntries(Object.entries(goldenCase.files).filter(([path]) => wanted.has(path))),
  }))
  return { ...manifest, cases: cases.filter((goldenCase) => Object.keys(goldenCase.files).length > 0) }
}
