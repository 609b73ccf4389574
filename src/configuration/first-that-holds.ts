/** What stands beside the first condition of a table that holds; undefined where none does. */
export function firstThatHolds<Of>(table: Iterable<readonly [condition: unknown, of: Of]>): Of | undefined {
  for (const [condition, of] of table) if (condition) return of
  return undefined
}
