/** The command: `npm run bench:acceleration -- --size small|gpu --cifar DIR --resnet FILE --out DIR`. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import * as z from 'zod'
import { describeFailure, Interruption } from '../../src/cli/failure.ts'
import { Output } from '../../src/cli/output.ts'
import { Progress } from '../../src/cli/progress.ts'
import { parseConfiguration } from '../../src/configuration/parse.ts'
import { resolveDevice } from '../../src/tensor/device.ts'
import { cifarSources, type Terminal } from './data-sets.ts'
import { runExperiment } from './experiment.ts'
import { placesIn } from './places.ts'
import { publish } from './publication.ts'
import { rehearsal, SIZES, type SizeName } from './sizes.ts'
import { summaryLines } from './tables.ts'
import type { TeacherChoice } from './teacher.ts'

const USAGE = `usage: npm run bench:acceleration -- --size small|gpu --cifar DIR --resnet FILE --out DIR [options]

  --size small|gpu     ${SIZES.small.summary}, or ${SIZES.gpu.summary}
  --cifar DIR          the folder with train45k-rest-jpg.tar.gz, train5k-jpg.zip and test1k-jpg.zip
  --resnet FILE        resnet20-12fca82f.th, in whose features the Fréchet distance is
  --out DIR            everything that is made; a call that was interrupted goes on from there
  --seeds A,B,…        a pair of runs each; default: ${SIZES.small.seeds.join(',')} of small, ${SIZES.gpu.seeds.join(',')} of gpu
  --teacher FILE|hog   what the aligned runs are aligned with; default: trained first, DIR/teacher
  --device NAME        auto, cpu, cuda or cuda:N
  --rehearse           two steps on a few images: shows that everything works here
  --publish            writes the result's tables and figures into bench/acceleration/README.md`

const argumentsSchema = z.strictObject({
  size: z.enum(Object.keys(SIZES) as [SizeName, ...SizeName[]]),
  cifar: z.string(),
  resnet: z.string(),
  out: z.string(),
  seeds: z
    .string()
    .regex(/^\d+(,\d+)*$/, 'whole numbers between commas were expected')
    .transform((text) => [...new Set(text.split(',').map(Number))])
    .optional(),
  teacher: z.string().optional(),
  device: z.string(),
  rehearse: z.boolean(),
  publish: z.boolean(),
})

function teacherOf(given: string | undefined): TeacherChoice {
  if (given === undefined) return 'trained'
  return given === 'hog' ? 'hog' : { file: given }
}

/** Images of each set in a rehearsal. */
const REHEARSED_IMAGES = 64

async function main(words: readonly string[], terminal: Terminal): Promise<void> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      size: { type: 'string' },
      cifar: { type: 'string' },
      resnet: { type: 'string' },
      out: { type: 'string' },
      seeds: { type: 'string' },
      teacher: { type: 'string' },
      device: { type: 'string', default: 'auto' },
      rehearse: { type: 'boolean', default: false },
      publish: { type: 'boolean', default: false },
    },
  })
  const given = parseConfiguration(argumentsSchema, values, 'the command line')
  const { out, rehearse } = given
  const size = SIZES[given.size]
  const result = await runExperiment({
    name: given.size,
    size: rehearse ? rehearsal(size) : size,
    sources: cifarSources(given.cifar),
    ...(rehearse && { maxImages: REHEARSED_IMAGES }),
    judge: { name: 'resnet-cifar', file: given.resnet },
    teacher: teacherOf(given.teacher),
    seeds: given.seeds ?? size.seeds,
    out,
    device: resolveDevice(given.device),
    terminal,
  })
  for (const line of summaryLines(result)) terminal.out.line(line)
  const folder = given.publish && !rehearse ? import.meta.dirname : out
  await publish(result, placesIn(out), folder)
  terminal.out.line(`written: ${join(folder, 'README.md')}`)
}

const controller = new AbortController()
const out = new Output({ stdout: process.stdout, stderr: process.stderr, env: process.env, json: false, quiet: false })
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    out.line('Stopping; the same command goes on from here. A second signal stops at once.')
    controller.abort(new Interruption(`stopped by ${name}`))
  })
}

if (process.argv.slice(2).some((word) => word === '--help' || word === '-h')) {
  process.stdout.write(`${USAGE}\n`)
} else {
  try {
    await main(process.argv.slice(2), {
      out,
      signal: controller.signal,
      progress: (options) => new Progress(out, options),
    })
  } catch (failure) {
    if (!controller.signal.aborted) out.warn(describeFailure(failure))
    process.exitCode = controller.signal.aborted ? 130 : 1
  } finally {
    out.close()
  }
}
