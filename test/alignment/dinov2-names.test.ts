import { expect, test } from 'vitest'
import { dinov2 } from '../../src/alignment/dinov2.ts'
import { stateSource } from '../../src/nn/state-dict.ts'
import { authorsEncoder, transformersEncoder } from '../models/rae-files.ts'

/** Of a file's state, by the names that the encoder reads: what is there beyond those is left. */
async function readBy(state: ReturnType<typeof authorsEncoder>, names: readonly string[]) {
  const source = dinov2.state(stateSource(state, 'a file'))
  return Promise.all(names.map(async (name) => [name, source.shapeOf(name), [...(await source.read(name)).data]]))
}

test('DINOv2 is read as the Transformers library writes it, as from its authors’ file', async () => {
  const names = [...authorsEncoder().keys()]
  expect(names.length).toBeGreaterThan(30)
  expect(await readBy(transformersEncoder(), names)).toEqual(await readBy(authorsEncoder(), names))
})
