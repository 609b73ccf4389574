/** What flags alone contradict is said before anything is read: a checkpoint may be gigabytes, read by every process. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

test.each<[words: readonly string[], sentence: string]>([
  [['--guide', 'c'], '--guide needs a --cfg-scale above 1, which says how far to go away from it.'],
  [
    ['--guide', 'c', '--cfg-scale', '1'],
    '--guide needs a --cfg-scale above 1, which says how far to go away from it; 1 was given.',
  ],
  [['--guide-heads', '4'], '--guide-heads 4 is of a --guide, and none was given; leave it out.'],
  [['--cfg-scale', '0.5'], '--cfg-scale 0.5 would guide nothing: expected 1, which is no guidance, or more.'],
  [['--cfg-scale', '0'], '--cfg-scale 0 would guide nothing: expected 1, which is no guidance, or more.'],
  [['--cfg-scale', '-1'], '--cfg-scale -1 would guide nothing: expected 1, which is no guidance, or more.'],
  [
    ['--guidance-low', '0.9', '--guidance-high', '0.8'],
    '--guidance-low 0.9 is above --guidance-high 0.8: guidance would never be active; --cfg-scale 1 turns it off.',
  ],
  [
    ['--cfg-scale', '1', '--cls-cfg-scale', '2'],
    '--cls-cfg-scale 2 is of guidance, and --cfg-scale 1 has none; leave it out.',
  ],
  [['--mode', 'sde', '--solver', 'heun'], '--solver heun is of --mode ode, not of sde; leave it out.'],
  [['--mode', 'sde', '--time-shift', '2'], '--time-shift 2 is of --mode ode, not of sde; leave it out.'],
  [['--mode', 'ddpm', '--solver', 'dopri5'], '--solver dopri5 is of --mode ode, not of ddpm; leave it out.'],
  [['--mode', 'ddpm', '--eta', '0.5'], '--eta 0.5 is of --mode ddim, not of ddpm; leave it out.'],
  [['--mode', 'ddim', '--path', 'linear'], '--path linear is of a SiT, not of a DiT; leave it out.'],
  [['--mode', 'ode', '--kind', 'DiT'], '--mode ode is not for a DiT: expected ddpm or ddim.'],
  [['--mode', 'ddpm', '--kind', 'SiT'], '--mode ddpm is not for a SiT: expected ode or sde.'],
  [['--kind', 'DiT', '--path', 'cosine'], '--path cosine is of a SiT, not of a DiT; leave it out.'],
  [['--kind', 'DiT', '--convention', 'sit'], '--convention sit is of a SiT, not of a DiT; leave it out.'],
  [
    ['--solver', 'dopri5', '--time-shift', '2'],
    '--time-shift 2 shifts the steps of euler and heun, and dopri5 chooses its own; leave it out.',
  ],
  [['--solver', 'dopri5', '--steps', '5'], '--steps 5 is of euler and heun, and dopri5 chooses its own; leave it out.'],
  [['--autoencoder-tile', '64'], '--autoencoder-tile 64 is of an --autoencoder, and none was given; leave it out.'],
  [['--grid-count', '3'], '--grid-count 3 is of a --grid, and none was asked for; leave it out.'],
  [
    ['--classes', '1', '--prompt', 'a cat'],
    '--classes is of a model of classes, and --prompt of one of text; leave one of them out.',
  ],
  [
    ['--classes', '1', '--prompts', 'p.txt'],
    '--classes is of a model of classes, and --prompts of one of text; leave one of them out.',
  ],
  [
    ['--classes', '1', '--caption-encoder', 'clip'],
    '--classes is of a model of classes, and --caption-encoder of one of text; leave one of them out.',
  ],
])('%j', async (words, sentence) => {
  const folder = temporaryFolder()
  const out = join(folder, 'samples')
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const all = ['sample', '--checkpoint', join(folder, 'nowhere'), '--out', out, '--num', '1', ...words]
  const status = await dispatch(all, { stdout, stderr, env: {}, signal: new AbortController().signal })
  expect({ status, stdout: stdout.text, stderr: stderr.text }).toEqual({
    status: 2,
    stdout: '',
    stderr: `repa sample: ${sentence}\n`,
  })
  expect(existsSync(out)).toBe(false)
})

test('prompts that the images would replace', async () => {
  const folder = temporaryFolder()
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const words = ['sample', '--checkpoint', join(folder, 'nowhere'), '--out', folder, '--num', '1']
  const all = [...words, '--prompts', join(folder, 'prompts.txt')]
  const status = await dispatch(all, { stdout, stderr, env: {}, signal: new AbortController().signal })
  expect({ status, stderr: stderr.text }).toEqual({
    status: 2,
    stderr: `repa sample: --prompts ${folder}/prompts.txt is what sampling to ${folder} replaces; copy it elsewhere, or choose another --out.\n`,
  })
})
