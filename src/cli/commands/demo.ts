import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { defineCommand } from '../command.ts'
import type { Progress } from '../progress.ts'

export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'the whole job on images that the package draws: prepare, train, sample, report',
  description:
    'Nothing to download. Draws a small image set of ten classes, trains a small SiT with representation alignment on it, samples every class and writes report.html.',
  options: {
    out: { type: 'string', placeholder: 'DIR', default: 'repa-demo', description: 'folder for everything' },
    minutes: { type: 'number', min: 0.01, default: 1.5, description: 'time for the training' },
  },
  examples: [{ command: 'repa demo', description: 'about two minutes on two cores; then open repa-demo/report.html' }],
  async run({ out: folder, minutes }, { device, seed, out, signal, progress }) {
    const [{ resolveDevice }, { demo }, { renderReport }, { readRun }] = await Promise.all([
      import('../../tensor/device.ts'),
      import('../../demo.ts'),
      import('../../report/report.ts'),
      import('../../report/run.ts'),
    ])
    let bar: Progress | undefined
    const result = await demo({
      out: folder,
      device: resolveDevice(device),
      seed,
      minutes,
      signal,
      onPhase: (sentence) => {
        bar?.end()
        bar = undefined
        out.line(sentence)
      },
      onStep: (step, secondsLeft) => {
        bar ??= progress({ label: 'train', unit: 'steps' })
        bar.update(step.index, {
          loss: step.loss,
          align: step.alignment ?? 0,
          'images/s': step.imagesPerSecond,
          left: `${Math.ceil(secondsLeft)} s`,
        })
      },
      onNotice: (sentence) => out.warn(sentence),
    }).finally(() => bar?.end())
    const page = join(folder, 'report.html')
    await writeFile(page, renderReport([await readRun(result.run)], { title: 'repa demo', writtenAt: new Date() }))
    out.line(`${result.steps} steps. Open ${page}; the samples are also in ${join(folder, 'samples')}.`)
    out.json({ ...result, report: page })
  },
})
