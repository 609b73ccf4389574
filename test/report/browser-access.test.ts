/** Reports for whoever prints them, goes by keys, hears them or sees other colours. */
import { appendFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { describe, expect, test } from 'vitest'
import { watch } from '../../src/report/watch/watch.ts'
import { chromiumPath, chromiumSuffix } from './chromium.ts'
import { CONFIG, chart, GRID, reportOf, shownText, useBrowser, wholeRun, written } from './page-in-browser.ts'
import { metricsLine, RunFolders } from './run-folder.ts'

describe.skipIf(chromiumPath === undefined)(`the report to everybody${chromiumSuffix}`, () => {
  const open = useBrowser()

  const keyed = ['.controls label:has(.swatch) .swatch', '.legend .key'] as const
  const media: [string, Parameters<Page['emulateMedia']>[0]][] = [
    ['printed', { media: 'print' }],
    ["in colours of the reader's own", { forcedColors: 'active' }],
  ]
  test.each(media)('%s: it is said which line is whose, by its colour', async (_, emulated) => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)))
    const { page } = opened
    await page.emulateMedia(emulated)
    for (const selector of keyed) {
      const keys = await page.locator(selector).evaluateAll((all) =>
        all.map((own) => {
          const style = getComputedStyle(own)
          // Of what is printed, whether backgrounds are is the browser's choice, unless the page insists.
          const isPrinted = !matchMedia('print').matches || style.getPropertyValue('print-color-adjust') === 'exact'
          return isPrinted && own.getBoundingClientRect().width > 0 ? style.backgroundColor : 'nothing'
        }),
      )
      const lines = await page
        .locator('.noisy path.trend')
        .evaluateAll((all) => all.map((own) => getComputedStyle(own).stroke))
      expect(keys.length, selector).toBeGreaterThan(1)
      expect(new Set(keys), selector).toEqual(new Set(lines))
    }
  })

  test('runs of one colour have dashes of their own, in what stands for them too', async () => {
    await using folders = await RunFolders.create()
    const files = { 'config.json': CONFIG, 'metrics.jsonl': [1, 2].map((step) => metricsLine(step)) }
    const runs = await Promise.all(Array.from({ length: 18 }, (_, i) => folders.add(`r${i}`, files)))
    await using opened = await open(await reportOf(folders, runs))
    const looks = await opened.page.locator('.controls .swatch').evaluateAll((all) =>
      all.map((own) => {
        const { backgroundColor, maskImage } = getComputedStyle(own)
        return `${backgroundColor} ${maskImage}`
      }),
    )
    expect(new Set(looks).size).toBe(18)
  })

  test('labels of values that are nearly equal are inside their chart', async () => {
    await using folders = await RunFolders.create()
    const fid = (step: number, value: number) => ({
      sampleImages: 100,
      kind: 'fid',
      step,
      network: 'hog',
      reference: 'ref.zip',
      fid: value,
    })
    const run = { 'config.json': CONFIG, 'evaluation/a.json': fid(1, 0.6362635), 'evaluation/b.json': fid(2, 0.636262) }
    await using opened = await open(await written(folders, run), { viewport: { width: 320, height: 640 } })
    const outside = await chart(opened.page, 'Fréchet distance').evaluate((figure) => {
      const { left } = figure.getBoundingClientRect()
      return [...figure.querySelectorAll('.y-labels span')].filter((own) => own.getBoundingClientRect().left < left)
        .length
    })
    expect(outside).toBe(0)
  })

  test('each press of an arrow key reads another value, and + brings those between within reach', async () => {
    await using folders = await RunFolders.create()
    const log = Array.from({ length: 200 }, (_, i) => metricsLine(i + 1))
    await using opened = await open(await written(folders, { ...wholeRun(0), 'metrics.jsonl': log }))
    const { page } = opened
    const press = async (title: string, key: string) => {
      await chart(page, title).locator('.pointer').press(key)
      return (await shownText(chart(page, title).locator('.tip'))).split('\n')[0]
    }
    expect([await press('Fréchet distance', 'ArrowRight'), await press('Fréchet distance', 'ArrowRight')]).toEqual([
      'Step 5',
      'Step 10',
    ])
    expect(await press('Fréchet distance', 'ArrowLeft')).toBe('Step 5')
    expect([await press('Loss', 'ArrowRight'), await press('Loss', 'ArrowRight')]).toEqual(['Step 1', 'Step 5'])
    // The last is within reach though it is less than a press away from the one before, and the first when going back.
    for (let i = 0; i < 60; i++) await chart(page, 'Loss').locator('.pointer').press('ArrowRight')
    expect(await press('Loss', 'ArrowRight')).toBe('Step 200')
    for (let i = 0; i < 60; i++) await chart(page, 'Loss').locator('.pointer').press('ArrowLeft')
    expect([await press('Loss', 'ArrowLeft'), await press('Loss', 'ArrowRight')]).toEqual(['Step 1', 'Step 5'])
    const labels = () => chart(page, 'Gradient norm').locator('.x-labels span').allInnerTexts()
    const before = await labels()
    for (let i = 0; i < 2; i++) await chart(page, 'Loss').locator('.pointer').press('+')
    await expect.poll(labels).not.toEqual(before)
    expect([await press('Loss', 'ArrowRight'), await press('Loss', 'ArrowRight')]).toEqual(['Step 6', 'Step 7'])
    for (let i = 0; i < 2; i++) await chart(page, 'Loss').locator('.pointer').press('-')
    await expect.poll(labels).toEqual(before)
    expect(opened.complaints).toEqual([])
  })

  test('every press counts, of several between two drawings too', async () => {
    await using folders = await RunFolders.create()
    const log = Array.from({ length: 200 }, (_, i) => metricsLine(i + 1))
    await using opened = await open(await written(folders, { ...wholeRun(0), 'metrics.jsonl': log }))
    const loss = chart(opened.page, 'Loss')
    await loss.locator('.pointer').evaluate((pointer) => {
      for (const key of ['ArrowRight', '+', '+', 'ArrowRight', 'ArrowRight'])
        pointer.dispatchEvent(new KeyboardEvent('keydown', { key }))
    })
    expect((await shownText(loss.locator('.tip'))).split('\n')[0]).toBe('Step 3')
  })

  test('the arrow keys read values too', async () => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(0)))
    const pointer = chart(opened.page, 'Linear probing, t = 0').locator('.pointer')
    await pointer.focus()
    await pointer.press('ArrowRight')
    await pointer.press('ArrowRight')
    expect(await shownText(chart(opened.page, 'Linear probing, t = 0').locator('.tip'))).toMatch(/^Layer 4\n/)
  })

  test('whoever has no mouse gets to what is scrolled, and everything has a name', async () => {
    await using folders = await RunFolders.create()
    const { 'evaluation/fid-5.json': _, ...oneStep } = wholeRun(0) as Record<string, object>
    const other = { ...oneStep, 'config.json': { ...CONFIG, model: 'SiT-B/2' } }
    await using opened = await open(await written(folders, oneStep, other), { viewport: { width: 320, height: 640 } })
    const { page } = opened
    const scrolled = await page
      .locator('.scroll')
      .evaluateAll((all) =>
        all.map((own) => [own.getAttribute('tabindex'), (own.getAttribute('aria-label') ?? '') !== '']),
      )
    // Numbers, distances, samples, configuration.
    expect(scrolled).toEqual(Array.from({ length: 4 }, () => ['0', true]))
    expect(await page.locator('th').evaluateAll((all) => all.filter((own) => own.textContent === '').length)).toBe(0)
    await page.getByRole('button', { name: 'Samples of aligned at step 5' }).press('Enter')
    expect(await page.getByRole('dialog', { name: 'Samples of aligned at step 5' }).count()).toBe(1)
  })

  test('what comes in leaves the focus and what was scrolled to where they were, and is said to who hears the page', async () => {
    await using folders = await RunFolders.create()
    const names = ['aligned', 'vanilla']
    const runs = await Promise.all(names.map((name) => folders.add(name, wholeRun(0))))
    await using watching = await watch(runs, { port: 0, interval: 20 })
    await using opened = await open(watching.url, { viewport: { width: 360, height: 740 } })
    const { page } = opened
    const numbers = page.locator('[data-part=summary] .scroll')
    const scrolled = () => numbers.evaluate((own) => own.scrollLeft)
    await numbers.evaluate((own) => own.scrollTo(100, 0))
    expect(await scrolled()).toBe(100)
    await appendFile(join(runs[0]!, 'metrics.jsonl'), `${JSON.stringify(metricsLine(11, { loss: 0.25 }))}\n`)
    await expect
      .poll(() => chart(page, 'Loss').locator('svg').getAttribute('aria-label'))
      .toMatch(/aligned: from 1.00 at step 1 to 0.\d+ at step 11;/)
    expect(await scrolled()).toBe(100)

    const radio = page.locator('.tiles-choice').getByRole('radio', { name: '3', exact: true })
    await radio.focus()
    await writeFile(join(runs[0]!, 'samples/0000011.png'), GRID)
    await expect.poll(() => page.locator('.gallery img').count()).toBe(5)
    expect(await radio.evaluate((own) => own === document.activeElement)).toBe(true)
    expect(opened.complaints).toEqual([])
  })
})
