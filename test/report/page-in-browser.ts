/** Reports in a browser: how a test opens one, and the runs that it shows. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { afterAll, beforeAll } from 'vitest'
import { encodePng } from '../../src/data/png.ts'
import { renderReport } from '../../src/report/report.ts'
import { readRuns } from '../../src/report/run.ts'
import { launchChromium } from './chromium.ts'
import { metricsLine, type RunFiles, type RunFolders } from './run-folder.ts'

/** Sixteen tiles of 8 × 8 with the border of two pixels that `repa train` puts around them. */
export const GRID = encodePng(new Uint8Array(42 * 42 * 3).fill(120), 42, 42, 3)
export const CONFIG = { model: 'SiT-S/2', training: { seed: 0, samples: { count: 16 } } }
const LAYERS = [2, 4, 6]

/** What a reader sees there, line by line. */
// biome-ignore lint/performance/useDomNodeTextContent: textContent has no line breaks between the rows of a box
export const shownText = (place: Locator) => place.innerText()

/** A run of ten steps with everything that a report shows; `better` is by how much. */
export function wholeRun(better: number): RunFiles {
  return {
    'config.json': CONFIG,
    'metrics.jsonl': Array.from({ length: 10 }, (_, i) => metricsLine(i + 1, { loss: 1 / (i + 1 + better) })),
    'samples/0000005.png': GRID,
    'samples/0000010.png': GRID,
    ...Object.fromEntries(
      [5, 10].map((step) => [
        `evaluation/fid-${step}.json`,
        {
          kind: 'fid',
          step,
          network: 'hog',
          reference: 'ref.zip',
          sampleImages: 100,
          fid: 80 / (step + better),
          recall: 0.5,
        },
      ]),
    ),
    'evaluation/probe.json': {
      kind: 'probe',
      step: 10,
      classes: 20,
      testImages: 100,
      points: [0, 0.5].flatMap((noise) =>
        LAYERS.map((layer) => ({ layer, noise, accuracy: 0.1 * layer - 0.1 * noise + 0.01 * better })),
      ),
    },
    'evaluation/encoder.json': { kind: 'encoder-probe', encoder: 'dinov2-vit-b', testImages: 100, accuracy: 0.8 },
    'evaluation/cknna.json': {
      kind: 'cknna',
      step: 10,
      encoder: 'hog',
      neighbours: 10,
      images: 100,
      points: LAYERS.map((layer) => ({ layer, noise: 0, cknna: 0.05 * layer + 0.01 * better })),
    },
  }
}

export const chart = (page: Page, title: string) => page.locator(`.chart[data-chart="${title}"]`)

/** Puts the pointer on a chart, `across` of its width. */
export async function pointAt(page: Page, title: string, across: number): Promise<string> {
  const pointer = chart(page, title).locator('.pointer')
  await pointer.scrollIntoViewIfNeeded()
  const box = (await pointer.boundingBox())!
  await page.mouse.move(box.x + box.width * across, box.y + box.height / 2)
  return shownText(chart(page, title).locator('.tip'))
}

/** Writes the report of runs as `repa report` does; its address. */
export async function written(folders: RunFolders, ...runs: RunFiles[]): Promise<string> {
  const names = ['aligned', 'vanilla']
  return reportOf(folders, await Promise.all(runs.map((files, i) => folders.add(names[i]!, files))))
}

/** The same of folders that are there. */
export async function reportOf(folders: RunFolders, directories: readonly string[]): Promise<string> {
  const file = join(folders.root, 'report.html')
  await writeFile(file, renderReport(await readRuns(directories)))
  return pathToFileURL(file).href
}

/** A browser for the tests of a suite. @returns what opens a page in it, and tells what that complains about and what it asks for besides itself */
export function useBrowser() {
  let browser: Browser
  beforeAll(async () => {
    browser = await launchChromium()
  })
  afterAll(() => browser?.close())

  return async (url: string, options: BrowserContextOptions = {}) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
    const page = await context.newPage()
    const complaints: string[] = []
    const requests: string[] = []
    page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => requests.push(request.url()))
    await page.goto(url)
    return {
      page,
      complaints,
      requests: () => requests.filter((own) => own !== url && !own.startsWith('data:')),
      [Symbol.asyncDispose]: () => context.close(),
    }
  }
}
