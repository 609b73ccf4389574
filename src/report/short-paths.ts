import { basename, dirname, normalize } from 'node:path'

/** Names for paths, as short as tells them apart: a path's last part, or all of it where another path ends in the same. */
export function shortPaths(paths: readonly string[]): ReadonlyMap<string, string> {
  const places = new Map(paths.map((path) => [path, normalize(path)]))
  const ofName = new Map<string, Set<string>>()
  for (const place of places.values()) {
    const name = lastPart(place)
    ofName.set(name, (ofName.get(name) ?? new Set()).add(place))
  }
  return new Map(
    [...places].map(([path, place]) => [path, ofName.get(lastPart(place))!.size > 1 ? place : lastPart(place)]),
  )
}

/** Of a prepared data set's folder `images` also whose it is. */
function lastPart(path: string): string {
  const name = basename(path)
  const parent = basename(dirname(path))
  return name === 'images' && parent !== '' && parent !== '.' ? `${parent}/${name}` : name
}
