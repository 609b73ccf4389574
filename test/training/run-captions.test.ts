import { expect, test } from 'vitest'
import type { Dataset } from '../../src/data/dataset.ts'
import { trainingSchema } from '../../src/training/configuration.ts'
import { digestOfCaptions } from '../../src/training/run-captions.ts'

const CAPTIONS = [['a dog', 'a brown dog'], [], ['two cups']]
const dataOf = (captions?: readonly (readonly string[])[]) => ({ path: 'data', captions }) as Dataset
const ofText = (captionsDigest?: string) =>
  trainingSchema.parse({ captionEncoder: { file: 'clip' }, ...(captionsDigest && { captionsDigest }) })

test('the same captions have the same digest, wherever they lie', () => {
  const digest = digestOfCaptions(ofText(), dataOf(CAPTIONS))!
  expect(digest).toMatch(/^[0-9a-f]{64}$/)
  expect(digestOfCaptions(ofText(digest), { ...dataOf(structuredClone(CAPTIONS)), path: 'moved' } as Dataset)).toBe(
    digest,
  )
})

test.each([
  ['a word', [['a dog', 'a brown cat'], [], ['two cups']]],
  ['the order of an image', [['a brown dog', 'a dog'], [], ['two cups']]],
  ['the images', [['a dog', 'a brown dog'], ['two cups'], []]],
  ['how they are cut', [['a dog'], ['a brown dog'], ['two cups']]],
  ['one more', [...CAPTIONS, ['a bus']]],
])('other captions are refused: %s', (_, captions) => {
  const digest = digestOfCaptions(ofText(), dataOf(CAPTIONS))!
  expect(() => digestOfCaptions(ofText(digest), dataOf(captions))).toThrow(
    new RegExp(
      `^The captions in data are others than when the run began: SHA-256 [0-9a-f]{12}…, not ${digest.slice(0, 12)}…; put back those that ` +
        'were there; a new run may begin from the weights by `init`, with captionsDigest left out of its configuration\\.$',
    ),
  )
})

test('a run of classes has none, whatever the data have', () => {
  expect(digestOfCaptions(trainingSchema.parse({}), dataOf(CAPTIONS))).toBeUndefined()
  expect(digestOfCaptions(ofText(), dataOf())).toBeUndefined()
})
