import { listNames } from './name-list.ts'

export type ArchiveKind = 'zip' | 'tar' | 'parquet' | 'other'

const KINDS: readonly (readonly [RegExp, ArchiveKind])[] = [
  [/\.zip$/i, 'zip'],
  [/\.(tar|tar\.gz|tgz)$/i, 'tar'],
  [/\.parquet$/i, 'parquet'],
  [/\.(tar\.bz2|tar\.xz|tar\.zst|7z|rar)$/i, 'other'],
]

/** What kind of archive a name promises; undefined where it promises none. */
export function archiveKind(name: string): ArchiveKind | undefined {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1]
}

/** A pattern gives at most so many names: more is a slip of the keyboard. */
const MAX_NAMES = 1_000_000

/**
 * The names of a pattern with braces, as a shell and the `webdataset` package spell sets of shards: `{a,b}` stands for each of the
 * words, `{0000..0127}` for the numbers from one to the other, with as many digits. Names without braces stand for themselves.
 */
export function expandBraces(pattern: string): string[] {
  const [, before, inside, after] = /^([^{}]*)\{([^{}]*)\}(.*)$/.exec(pattern) ?? []
  if (before === undefined || inside === undefined || after === undefined) return [pattern]
  const choices = rangeOf(inside, pattern) ?? (inside.includes(',') ? inside.split(',') : undefined)
  // Braces around one word stand for themselves, as in a shell.
  if (choices === undefined) return expandBraces(after).map((rest) => `${before}{${inside}}${rest}`)
  const rests = expandBraces(after)
  if (choices.length * rests.length > MAX_NAMES) {
    throw new RangeError(`The pattern '${pattern}' stands for more than ${MAX_NAMES} names.`)
  }
  return choices.flatMap((choice) => rests.map((rest) => before + choice + rest))
}

function rangeOf(inside: string, pattern: string): string[] | undefined {
  const [, first, last] = /^(\d+)\.\.(\d+)$/.exec(inside) ?? []
  if (first === undefined || last === undefined) return undefined
  const count = Number(last) - Number(first) + 1
  if (count < 1 || count > MAX_NAMES) {
    throw new RangeError(`The pattern '${pattern}' has the range ${inside}; the first number must come first.`)
  }
  const padded = [first, last].some((number) => /^0\d/.test(number))
  const digits = padded ? Math.max(first.length, last.length) : 0
  return Array.from({ length: count }, (_, i) => String(Number(first) + i).padStart(digits, '0'))
}

/** A shard's number at the end of its name, with how many there are and the hash that `datasets` once added: `-00000-of-00040-0123abcd`. */
const SHARD_NUMBER = /[-_.]?\d+(-of-\d+(-[0-9a-f]+)?)?(?=\.[^/]*$)/

/** Words by which data sets call their parts, in lower case. */
export const SPLIT_WORDS: ReadonlySet<string> = new Set(
  'train training test testing val valid validation dev'.split(' '),
)

/**
 * Throws where a folder's shards are those of several sets, as `train-00000-of-00040.parquet` and
 * `validation-00000-of-00002.parquet` in a download: together they would be no set. Archives of one each, `cat.tar` and `dog.tar`, are
 * shards of one set, unless their names say that there are no more of them (`-of-00001`) or call all of them train, test and the like.
 */
export function requireOneSplit(folder: string, names: readonly string[]): void {
  const splits = new Map<string, string[]>()
  for (const name of names) {
    const split = name.replace(SHARD_NUMBER, '').replace(/\.[^/]*$/, '')
    splits.set(split, [...(splits.get(split) ?? []), name])
  }
  const isAlone = [...splits.values()].every((shards) => shards.length === 1)
  const isCounted = names.some((name) => /-of-\d/.test(SHARD_NUMBER.exec(name)?.[0] ?? ''))
  if (splits.size < 2 || (isAlone && !isCounted && !areSplitWords([...splits.keys()]))) return
  const counts = [...splits].map(([split, shards]) => `'${split}' (${shards.length})`).join(', ')
  throw new Error(
    `'${folder}' holds the shards of ${splits.size} sets: ${counts}. Name those of one, such as ${listNames([...splits.values()][0]!.slice(0, 2))}.`,
  )
}

/** Whether each of the names has a word for a part of a set in it, and not all the same. */
function areSplitWords(splits: readonly string[]): boolean {
  const words = splits.map((split) =>
    split
      .toLowerCase()
      .split(/[^a-z]+/)
      .find((word) => SPLIT_WORDS.has(word)),
  )
  return words.every((word) => word !== undefined) && new Set(words).size > 1
}
