import { expect, test } from 'vitest'
import { trainCommand } from '../../src/cli/commands/train.ts'
import type { OptionTable } from '../../src/cli/option.ts'
import { withFlags } from '../../src/cli/with-flags.ts'

test.each([
  ['give `alignUntil`.', 'give --align-until.'],
  ["(`recompute: 'elementwise'`)", '(--recompute elementwise)'],
  ['`accumulate: 4` makes', '--accumulate 4 makes'],
  ['`learningRateFinal` be less than `learningRate`.', '--lr-final be less than --lr.'],
  ["by `encoders: [{ name: 'dinov2-vit-b', file: 'FILE' }]`.", 'by --encoder dinov2-vit-b=FILE.'],
  ["or `encoders: [{ name: 'hog' }]`.", 'or --encoder hog.'],
  ["by `captionEncoder: { file: 'FILE' }`.", 'by --caption-encoder FILE.'],
  // Of every command.
  ['take `device` cuda', 'take --device cuda'],
  // Of another.
  ['allow the name by `inert`, by `inertGlobals`', 'allow the name by repa convert --inert, by `inertGlobals`'],
  ['in tiles (`tile: 64`)', 'in tiles (repa sample --autoencoder-tile 64)'],
  // Of none.
  ['give `noise`, and `await tensor.toHost()`, by `trainer.restore`, of `constructor`', undefined],
])('%s', (sentence, said = sentence) => {
  expect(withFlags(sentence, trainCommand)).toBe(said)
})

test('a command that does not train names the one that does', () => {
  const options: OptionTable = { heads: { type: 'integer', description: 'of the attention' } }
  expect(withFlags('`maxGradNorm` 1e30 clips none; `heads` sets it', { options })).toBe(
    'repa train --max-grad-norm 1e30 clips none; --heads sets it',
  )
})
