/**
 * Runs `work` on the items, at most `concurrency` at a time, and yields the results in the order of the items. A failure
 * surfaces at its item's place. Leaving the loop early starts nothing more and waits for what runs.
 */
export async function* mapInOrder<T, R>(
  items: Iterable<T>,
  concurrency: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const running: Promise<R>[] = []
  const start = (item: T): void => {
    const result = work(item)
    // The failure is reported when its turn comes; until then it must not count as unhandled.
    result.catch(() => {})
    running.push(result)
  }
  try {
    for (const item of items) {
      start(item)
      if (running.length >= concurrency) yield await running.shift()!
    }
    while (running.length > 0) yield await running.shift()!
  } finally {
    await Promise.allSettled(running)
  }
}
