import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeWhole } from '../../src/formats/atomic-file.ts'
import { formatCount } from '../../src/report/quantity.ts'
import { curvesFigure } from './curves-figure.ts'
import { writeJson } from './json-file.ts'
import type { Places } from './places.ts'
import { type Result, seedsOf } from './result.ts'
import { samplesPicture, shownSteps } from './samples-picture.ts'
import { formatValue, MEASURE_NAMES, measureTable, secondsTable } from './tables.ts'

/** The part of a README between a size's marks, and after it what stood there. */
const begin = (size: string): string => `<!-- ${size}: written by --publish, from here -->`
const end = (size: string): string => `<!-- ${size}: to here -->`

/** What a result says, in Markdown, with the figures that `publish` puts beside it. */
function section(result: Result): string {
  const { size, teacher, floor, images, machine, date } = result
  const seeds = seedsOf(result)
  const steps = shownSteps(result).map(formatCount)
  return [
    `${date}, ${machine.processor}, ${machine.threads} threads, ${machine.device}. Seeds ${seeds.join(', ')}. Teacher: ${teacher.name}${
      teacher.weights === undefined ? '' : ` (SHA-256 ${teacher.weights.slice(0, 12)}…)`
    }, whose own features a linear probe reads at ${formatValue('accuracy', teacher.accuracy)}. ${formatCount(images.train)} training images; ${formatCount(images.test)} test images of the probes. Held-out photographs have a Fréchet distance of ${formatValue('distance', floor)}.`,
    `![Loss, Fréchet distance and probe accuracy by step](${size}-curves.svg)`,
    ...MEASURE_NAMES.map((measure) => measureTable(result, measure)),
    `![Samples of both runs](${size}-samples.png)`,
    `*Seed ${seeds[0]}, after ${steps.join(', ')} steps from left to right; above without alignment, below with it; the same noise and classes everywhere.*`,
    secondsTable(result),
  ].join('\n\n')
}

/** The text with the section of the result's size in place of the one between its marks. */
function withSection(readme: string, result: Result): string {
  const [from, to] = [begin(result.size), end(result.size)]
  const [first, last] = [readme.indexOf(from), readme.indexOf(to)]
  if (first < 0 || last < first) {
    throw new Error(`The README has no place for the size ${result.size}; expected the lines ${from} and ${to}.`)
  }
  return `${readme.slice(0, first + from.length)}\n\n${section(result)}\n\n${readme.slice(last)}`
}

/** Writes tables, figures and the result's JSON into a folder: into its README where it has one with a place for them. */
export async function publish(result: Result, places: Places, folder: string): Promise<void> {
  const path = join(folder, 'README.md')
  const readme = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return `# Acceleration\n\n${begin(result.size)}\n${end(result.size)}\n`
  })
  await writeWhole(join(folder, `${result.size}-curves.svg`), curvesFigure(result))
  await writeWhole(join(folder, `${result.size}-samples.png`), await samplesPicture(result, places))
  await writeJson(join(folder, `${result.size}.json`), result)
  await writeWhole(path, withSection(readme, result))
}
