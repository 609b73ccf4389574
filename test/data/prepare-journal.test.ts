import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { PrepareJournal } from '../../src/data/prepare-journal.ts'
import { temporaryFolder } from '../temporary-folder.ts'

// The call that goes on may be killed as well: what it wrote must not have become a part of the torn line.
test('a journal whose last line was cut short is written on, and read again', async () => {
  const path = join(temporaryFolder(), 'journal.jsonl')
  const settings = { features: [], flip: false }
  const [taken, skipped] = [
    { name: 'a.png', label: 0 },
    { name: 'b.png', reason: 'torn' },
  ]
  const created = await PrepareJournal.create(path, settings)
  await created.append([taken])
  await created.close()
  appendFileSync(path, '{"name":"b.p')
  const { journal, ...before } = await PrepareJournal.resume(path)
  expect(before).toEqual({ settings, entries: [taken], latents: 0 })
  await journal.append([skipped])
  await journal.appendLatents(1)
  await journal.close()
  const { journal: again, ...after } = await PrepareJournal.resume(path)
  await again.close()
  expect(after).toEqual({ settings, entries: [taken, skipped], latents: 1 })
})
