import { expect, test } from 'vitest'
import { saveOnFailure } from '../../src/training/save-on-failure.ts'

test.each([
  {
    what: 'where the checkpoint is',
    save: async () => 'runs/a/checkpoints/0000005',
    notice: 'The steps until the failure are saved, runs/a/checkpoints/0000005; --resume goes on from there.',
  },
  {
    what: 'why there is none',
    save: () => Promise.reject(new Error('ENOSPC: no space left on device')),
    notice: 'The steps since the last checkpoint could not be saved: ENOSPC: no space left on device',
  },
])('says $what', async ({ save, notice }) => {
  const notices: string[] = []
  await saveOnFailure(save, (sentence) => void notices.push(sentence))
  expect(notices).toEqual([notice])
})
