import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { TrainingImagePool } from '../../src/data/training-image-pool.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const OPTIONS = { transform: 'none', size: 8, wideHeight: 8 } as const

/** A pool of one thread that runs this instead of the worker. */
function poolOf(script: string): TrainingImagePool {
  const file = join(temporaryFolder(), 'worker.mjs')
  writeFileSync(file, `import { parentPort } from 'node:worker_threads'\n${script}`)
  return new TrainingImagePool(1, OPTIONS, pathToFileURL(file))
}

const failure = (pool: TrainingImagePool): Promise<string> =>
  pool.render(new Uint8Array(1), 'x.png').then(
    () => 'none',
    (error: unknown) => String(error),
  )

describe('a thread that ends', () => {
  test.each([
    ['by an exception', "throw new Error('out of memory')", 'has failed: out of memory'],
    ['of itself', 'process.exit(0)', 'ended early'],
  ])('%s fails what it was given and what it is given afterwards', async (_, death, message) => {
    const pool = poolOf(`parentPort.on('message', () => { ${death} })`)
    const given = await Promise.all([failure(pool), failure(pool)])
    expect(given).toEqual([expect.stringContaining(message), expect.stringContaining(message)])
    expect(await failure(pool)).toContain(message)
    await pool.close()
  })
})
