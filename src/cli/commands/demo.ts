import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DemoEvaluation } from '../../demo.ts'
import { defineCommand } from '../command.ts'
import type { Progress } from '../progress.ts'

export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'the whole job on images that the package draws: prepare, train, sample, evaluate, report',
  description:
    'Nothing to download. Draws a small image set of ten classes, trains a small SiT with representation alignment on it, samples every class, evaluates samples and layers and writes report.html.',
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
    })
      .finally(() => bar?.end())
      .catch((error: unknown) => {
        if (signal.aborted) out.line('stopped; repa demo begins anew')
        throw error
      })
    const page = join(folder, 'report.html')
    await writeFile(page, renderReport([await readRun(result.run)], { title: 'repa demo', writtenAt: new Date() }))
    for (const sentence of findings(result.evaluation)) out.line(sentence)
    out.line(`${result.steps} steps. Open ${page}; the samples are also in ${join(folder, 'samples')}.`)
    out.json({ ...result, report: page })
  },
})

/** What the evaluation found, each figure beside the one that it is to be judged by. */
function findings({ samples, drawn, probe, cknna }: DemoEvaluation): string[] {
  const quality = ({ fid, precision, recall }: DemoEvaluation['samples']) =>
    `${fid!.toFixed(3)}, precision ${precision!.toFixed(2)}, recall ${recall!.toFixed(2)}`
  const clean = (points: DemoEvaluation['probe']['points']) => points.filter(({ noise }) => noise === 0)
  const probed = clean(probe.points).reduce((best, own) => (own.accuracy > best.accuracy ? own : best))
  const aligned = cknna.points
    .filter(({ noise }) => noise === 0)
    .reduce((best, own) => (own.cknna > best.cknna ? own : best))
  return [
    `Fréchet distance (${samples.network}) of ${samples.sampleImages} samples ${quality(samples)}; of as many newly drawn images ${quality(drawn)}`,
    `linear probe: ${(100 * probed.accuracy).toFixed(1)} % of ${probe.testImages} newly drawn images at layer ${probed.layer}; chance is ${(100 / probe.classes).toFixed(0)} %`,
    `CKNNA to ${cknna.encoder}: ${aligned.cknna.toFixed(3)} at layer ${aligned.layer}`,
  ]
}
