/**
 * The candidate that a mistyped word most likely meant, or undefined where none is near enough to be worth suggesting:
 * at most one edit for every three letters, or a candidate that the word begins (`--checkpoint` → `--checkpoint-every`).
 * Upper and lower case count as equal; of equally near candidates the first wins.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const typed = word.toLowerCase()
  const limit = Math.max(1, Math.floor(typed.length / 3))
  let best: string | undefined
  let bestDistance = limit + 1
  let begun: string | undefined
  for (const candidate of candidates) {
    const spelling = candidate.toLowerCase()
    if (Math.abs(spelling.length - typed.length) < bestDistance) {
      const distance = editDistance(typed, spelling)
      // A one-letter name differs from any other by one edit: that is no likeness.
      if (distance < bestDistance && distance < Math.max(typed.length, spelling.length)) {
        best = candidate
        bestDistance = distance
      }
    }
    if (begun === undefined && typed.length >= 3 && spelling.startsWith(typed)) begun = candidate
  }
  return best ?? begun
}

/**
 * Edits that turn one word into the other: insert, delete, replace, or swap two neighbours (the optimal string alignment
 * variant of Damerau and Levenshtein's distance: no letter is edited twice).
 */
export function editDistance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1]
      let cost = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1))
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      if (swapped) cost = Math.min(cost, beforeLast[column - 2]! + 1)
      current.push(cost)
    }
    beforeLast = last
    last = current
  }
  return last[to.length]!
}
