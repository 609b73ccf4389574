/**
 * What `start` makes of each item, in order; the next item is read while one runs. Waits for what runs, also on failure. A result is handed
 * out once the next item runs, so that what its taker does with it keeps no device idle.
 */
export async function* oneAhead<T, R>(
  items: AsyncIterable<T>,
  start: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  let running: Promise<R> | undefined
  try {
    for await (const item of items) {
      const before = running && { result: await running }
      running = start(item)
      // The failure is reported when its turn comes; until then it must not count as unhandled.
      running.catch(() => {})
      if (before) yield before.result
    }
    if (running) yield await running
  } finally {
    await Promise.allSettled([running])
  }
}
