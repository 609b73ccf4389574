/** How many names an error lists before it stops. */
const NAMES_SHOWN = 5

/** Names for a sentence: the first few, quoted, and how many more there are. */
export function listNames(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN).map((name) => `'${name}'`)
  const rest = names.length - shown.length
  return rest > 0 ? `${shown.join(', ')} and ${rest} more` : shown.join(', ')
}
