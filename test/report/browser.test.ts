import { appendFile, mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BrowserContextOptions } from 'playwright-core'
import { describe, expect, test } from 'vitest'
import { watch } from '../../src/report/watch/watch.ts'
import { chromiumPath, chromiumSuffix } from './chromium.ts'
import { CONFIG, chart, GRID, pointAt, reportOf, shownText, useBrowser, wholeRun, written } from './page-in-browser.ts'
import { metricsLine, RunFolders } from './run-folder.ts'

describe.skipIf(chromiumPath === undefined)(`the report in a browser${chromiumSuffix}`, () => {
  const open = useBrowser()

  const screens: [string, BrowserContextOptions][] = [
    ['a large screen, light', { colorScheme: 'light' }],
    ['a large screen, dark', { colorScheme: 'dark' }],
    ['a phone, light', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
    ['a phone, dark', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme: 'dark' }],
  ]

  test.each(screens)('%s: curves and pictures are there, nothing is asked for, nothing is wrong', async (_, screen) => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)), screen)
    const { page } = opened
    const lines = await page.locator('.chart path.trend').evaluateAll((paths) =>
      paths.map((path) => {
        const { width, height } = (path as SVGGraphicsElement).getBBox()
        return width + height
      }),
    )
    // Two runs in four charts of training, two of quality, three of probing and one of CKNNA.
    expect(lines.length).toBe(20)
    expect(Math.min(...lines)).toBeGreaterThan(0)
    const images = await page
      .locator('img')
      .evaluateAll((all) => all.map((image) => (image as HTMLImageElement).naturalWidth))
    expect(images).toEqual([42, 42, 42, 42])
    // Nothing is wider than the screen, no text smaller than 11 pixels, none overlaps another on an axis.
    const layout = await page.evaluate(() => ({
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      smallest: Math.min(
        ...[...document.querySelectorAll('main *')]
          .filter((own) => [...own.childNodes].some((node) => node.nodeType === 3 && node.textContent!.trim() !== ''))
          .map((own) => Number.parseFloat(getComputedStyle(own).fontSize)),
      ),
      overlapping: [...document.querySelectorAll('.x-labels, .y-labels')].flatMap((labels) => {
        const boxes = [...labels.children].map((own) => own.getBoundingClientRect()).filter(({ width }) => width > 0)
        return boxes.flatMap((a, i) =>
          boxes
            .slice(i + 1)
            .filter((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
            .map(() => labels.textContent),
        )
      }),
    }))
    expect(layout).toEqual({ overflow: 0, smallest: expect.any(Number), overlapping: [] })
    expect(layout.smallest).toBeGreaterThanOrEqual(11)
    expect(opened.requests()).toEqual([])
    expect(opened.complaints).toEqual([])
  })

  test('the pointer reads values on every chart', async () => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)))
    const { page } = opened
    // The last of ten steps: 1/12 and 1/10.
    expect(await pointAt(page, 'Loss', 0.999)).toBe('Step 10\naligned 0.08333\nvanilla 0.1000')
    expect(await pointAt(page, 'Fréchet distance', 0.98)).toBe('Step 10\naligned 6.667\nvanilla 8.000')
    expect(await pointAt(page, 'Linear probing, t = 0.5', 0.5)).toBe('Layer 4\naligned 37.0 %\nvanilla 35.0 %')
    expect(await pointAt(page, 'Linear probing by noise level', 0.98)).toBe('t = 0.5\naligned 57.0 %\nvanilla 55.0 %')
    expect(await pointAt(page, 'CKNNA to hog', 0.5)).toBe('Layer 4\naligned 0.2200\nvanilla 0.2000')
    const titles = await page
      .locator('.chart')
      .evaluateAll((all) => all.map((own) => (own as HTMLElement).dataset.chart!))
    expect(titles.length).toBeGreaterThan(9)
    for (const title of titles) expect(await pointAt(page, title, 0.5), title).toMatch(/^(Step|Layer|t =) .*\d/)
    // What is hidden is not read.
    await page.locator('.controls').getByText('vanilla', { exact: true }).click()
    expect(await pointAt(page, 'Loss', 0.999)).toBe('Step 10\naligned 0.08333')
    expect(opened.complaints).toEqual([])
  })

  test('lines to judge by lie where their values are', async () => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)))
    const { page } = opened
    const places = (title: string) =>
      chart(page, title)
        .locator('.reference')
        .evaluateAll((lines) =>
          lines.map((line) => {
            const [own, box] = [line.getBoundingClientRect(), line.parentElement!.getBoundingClientRect()]
            return [line.textContent, (box.bottom - own.top) / box.height]
          }),
        )
    // The axis goes from 0 to 5 % above the highest value, the encoder's 80 %; chance is 5 %.
    const expected = [
      ['dinov2-vit-b', expect.closeTo(1 / 1.05, 2)],
      ['chance', expect.closeTo(0.05 / (0.8 * 1.05), 2)],
    ]
    expect(await places('Linear probing, t = 0')).toEqual(expected)
    expect(await places('Linear probing by noise level')).toEqual(expected)
    expect(await places('CKNNA to hog')).toEqual([])
    expect(await chart(page, 'Linear probing, t = 0').locator('svg').getAttribute('aria-label')).toContain(
      'dinov2-vit-b: 0.800; chance: 0.0500.',
    )
  })

  test('a finger reads values, and they stay when it is lifted', async () => {
    await using folders = await RunFolders.create()
    const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)), phone)
    const { page } = opened
    const pointer = chart(page, 'CKNNA to hog').locator('.pointer')
    await pointer.scrollIntoViewIfNeeded()
    await pointer.tap()
    const tip = chart(page, 'CKNNA to hog').locator('.tip')
    expect(await shownText(tip)).toContain('Layer 4')
    const { x, width } = (await tip.boundingBox())!
    expect([x >= 0, x + width <= 360]).toEqual([true, true])
    await page.locator('h1').tap()
    expect(await tip.count()).toBe(0)
  })

  test('dragging magnifies all training curves, a button shows all again; the logarithm where it can be taken', async () => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)))
    const { page } = opened
    const labels = (title: string, axis: string) => chart(page, title).locator(`.${axis}-labels span`).allInnerTexts()
    const before = await labels('Gradient norm', 'x')
    const box = (await chart(page, 'Loss').locator('.pointer').boundingBox())!
    await page.mouse.move(box.x + box.width * 0.5, box.y + 50)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.9, box.y + 50, { steps: 5 })
    await page.mouse.up()
    await expect.poll(() => labels('Gradient norm', 'x')).not.toEqual(before)
    expect(Number((await labels('Gradient norm', 'x'))[0])).toBeGreaterThanOrEqual(5)
    await page.getByRole('button', { name: 'Whole run' }).click()
    await expect.poll(() => labels('Gradient norm', 'x')).toEqual(before)
    await page.getByText('Log scale').click()
    // 1/12 to 1: ticks at 1, 2 and 5 times a power of ten.
    await expect.poll(() => labels('Loss', 'y')).toEqual(['0.1', '0.2', '0.5', '1'])
    expect(opened.complaints).toEqual([])
  })

  test('one sample of every grid', async () => {
    await using folders = await RunFolders.create()
    await using opened = await open(await written(folders, wholeRun(2), wholeRun(0)))
    const { page } = opened
    expect(await page.locator('.matrix thead th').allInnerTexts()).toEqual(['Run', 'Step 5', 'Step 10'])
    await page.locator('.tiles-choice').getByText('6', { exact: true }).click()
    // The sixth of four in a row: its corner, at (12, 12), lies on the cell's.
    const offsets = await page.locator('.matrix .cell').evaluateAll((cells) =>
      cells.map((cell) => {
        const [own, image] = [cell.getBoundingClientRect(), cell.querySelector('img')!.getBoundingClientRect()]
        return [own.left - image.left, own.top - image.top].map((offset) => (offset / image.width) * 42)
      }),
    )
    expect(offsets.length).toBe(4)
    // Chromium lays out in 64ths of a pixel.
    for (const offset of offsets.flat()) expect(offset).toBeCloseTo(12, 1)
    await page.locator('.matrix .cell').first().click()
    await expect.poll(() => page.locator('dialog.enlarged img').count()).toBe(1)
    await page.keyboard.press('Escape')
    await expect.poll(() => page.locator('dialog.enlarged').count()).toBe(0)
    // Without a mouse.
    await page.locator('.matrix img').nth(1).press('Enter')
    await expect.poll(() => page.locator('dialog.enlarged img').count()).toBe(1)
  })

  test('a name that is written from right to left leaves the step behind it as it is', async () => {
    await using folders = await RunFolders.create()
    const runs = await Promise.all(['\u202eא', 'b'].map((name) => folders.add(name, wholeRun(0))))
    await using opened = await open(await reportOf(folders, runs))
    // Where the digits of 'step 10' are: the first left of the second.
    const places = await opened.page.evaluate(() => {
      const text = [...document.querySelector('[data-part="lead"]')!.childNodes].find((node) =>
        node.textContent!.includes('step 10'),
      )!
      const at = text.textContent!.indexOf('10')
      return [at, at + 1].map((index) => {
        const range = document.createRange()
        range.setStart(text, index)
        range.setEnd(text, index + 1)
        return range.getBoundingClientRect().left
      })
    })
    expect(places[0]).toBeLessThan(places[1]!)
  })

  test('of runs with long names the numbers can be seen, however narrow the screen', async () => {
    await using folders = await RunFolders.create()
    const names = ['aligned', 'vanilla'].map(
      (name) => `sit-xl-2-${name}-dinov2-vit-b-depth-8-weight-0.5-batch-256-lr-1e-4-seed-0`,
    )
    const fid = { kind: 'fid', network: 'hog', reference: `${names[0]}-${names[1]}`, sampleImages: 9, fid: 1 }
    const files = { ...wholeRun(0), 'evaluation/a.json': { ...fid, step: 1 }, 'evaluation/b.json': { ...fid, step: 2 } }
    const runs = await Promise.all(names.map((name) => folders.add(name, files)))
    await using opened = await open(await reportOf(folders, runs), screens[2]![1])
    // The names stay where they are while the numbers are scrolled past them.
    const shares = await opened.page
      .locator('table.numbers tbody th')
      .evaluateAll((cells) =>
        cells.map((cell) => cell.getBoundingClientRect().width / cell.closest('.card')!.clientWidth),
      )
    expect(shares.length).toBeGreaterThan(0)
    for (const share of shares) expect(share).toBeLessThan(0.6)
    const overflow = await opened.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    )
    expect(overflow).toBe(0)
  })

  test('follows a run in progress, without loading the page again', async () => {
    await using folders = await RunFolders.create()
    const run = await folders.add('r', { 'config.json': CONFIG })
    const log = join(run, 'metrics.jsonl')
    const lines = (from: number, to: number, loss: number) =>
      Array.from({ length: to - from + 1 }, (_, i) => `${JSON.stringify(metricsLine(from + i, { loss }))}\n`).join('')
    await writeFile(log, '')
    await using watching = await watch([run], { port: 0, interval: 20 })
    await using opened = await open(watching.url)
    const { page } = opened
    await page.evaluate(() => Object.assign(window, { isFirstPage: true }))
    const seen = () => shownText(page.locator('.lead [data-part=lead]'))
    await expect.poll(() => shownText(page.locator('.live'))).toBe('Live')
    expect(await page.locator('.chart').count()).toBe(0)
    await appendFile(log, lines(1, 20, 0.5))
    await expect.poll(() => page.locator('.chart').count()).toBe(4)
    await expect.poll(seen).toBe('SiT-S/2, step 20')
    await pointAt(page, 'Loss', 0.5)

    // What the pointer reads stays while points come in, half a line is waited for.
    const next = lines(21, 21, 0.75)
    await appendFile(log, next.slice(0, 50))
    await appendFile(log, next.slice(50))
    await expect.poll(seen).toBe('SiT-S/2, step 21')
    expect(await shownText(chart(page, 'Loss').locator('.tip'))).toMatch(/^Step 1\d\n0.5000$/)
    expect(await pointAt(page, 'Loss', 0.999)).toBe('Step 21\n0.7500')

    // Resumed: steps that had been logged are made again.
    await truncate(log, lines(1, 15, 0.5).length)
    await appendFile(log, lines(16, 18, 0.25))
    await expect.poll(seen).toBe('SiT-S/2, step 18')
    await expect.poll(() => pointAt(page, 'Loss', 0.999)).toBe('Step 18\n0.2500')

    // Alignment is logged from here on, a grid and an evaluation come.
    await appendFile(log, `${JSON.stringify(metricsLine(19, { alignment: -0.4 }))}\n`)
    await expect.poll(() => chart(page, 'Alignment loss').count()).toBe(1)
    await writeFile(join(run, 'samples/0000019.png'), GRID)
    await expect.poll(() => page.locator('.gallery img').count()).toBe(1)
    await expect
      .poll(() => page.locator('.gallery img').evaluate((image) => (image as HTMLImageElement).naturalWidth))
      .toBe(42)
    await writeFile(join(run, 'samples/0000020.png'), GRID)
    await expect.poll(() => shownText(page.locator('.timeline output'))).toBe('Step 20')

    expect(await page.evaluate(() => 'isFirstPage' in window)).toBe(true)
    expect(opened.requests().every((url) => url.startsWith(watching.url))).toBe(true)
    expect(opened.complaints).toEqual([])
  })

  test('ways of sampling are lines that can be told apart, in a page that follows a run too', async () => {
    await using folders = await RunFolders.create()
    const of = { kind: 'fid', network: 'hog', reference: 'ref.zip', sampleImages: 100 }
    const evaluated = (guidanceScale: number) =>
      [5, 10].map((step): [string, object] => [
        `evaluation/${step}-${guidanceScale}.json`,
        { ...of, step, fid: guidanceScale * step, sampling: { mode: 'ode', solver: 'heun', guidanceScale } },
      ])
    const run = await folders.add('r', { 'config.json': CONFIG, ...Object.fromEntries(evaluated(4)) })
    await using watching = await watch([run], { port: 0, interval: 20 })
    await using opened = await open(watching.url)
    const { page } = opened
    const distance = chart(page, 'Fréchet distance')
    const legend = () => distance.locator('.legend li').allInnerTexts()
    expect(await legend()).toEqual([])
    for (const [name, record] of [1, 2].flatMap(evaluated)) await writeFile(join(run, name), JSON.stringify(record))
    await expect.poll(legend).toEqual(['r, no guidance', 'r, guidance 2', 'r, guidance 4'])
    expect(await pointAt(page, 'Fréchet distance', 0.98)).toBe(
      'Step 10\nr, no guidance 10.00\nr, guidance 2 20.00\nr, guidance 4 40.00',
    )
    const looks = await distance.locator('svg').evaluate((svg) => {
      const look = (path: Element, ...properties: string[]) =>
        properties.map((property) => getComputedStyle(path).getPropertyValue(property)).join()
      return {
        dots: [...svg.querySelectorAll('.raw')].map((path) => look(path, 'stroke')),
        lines: [...svg.querySelectorAll('.trend')].map((path) => look(path, 'stroke-dasharray')),
        keys: [...document.querySelectorAll('.legend .key')].map((key) => look(key, 'background-image')),
      }
    })
    for (const [what, styles] of Object.entries(looks)) expect(new Set(styles).size, what).toBe(3)
    expect(opened.complaints).toEqual([])
  })

  test('an update that could not be fetched is fetched again, and the page is live again', async () => {
    await using folders = await RunFolders.create()
    const run = await folders.add('r', { 'config.json': CONFIG })
    await using watching = await watch([run], { port: 0, interval: 20 })
    await using opened = await open(watching.url)
    const { page } = opened
    const said = () => shownText(page.locator('.live'))
    await expect.poll(said).toBe('Live')
    const ways = ['abort', 'refuse']
    await page.route(watching.url, async (route) => {
      const way = ways.shift()
      if (way === 'abort') await route.abort()
      else if (way === 'refuse') await route.fulfill({ status: 403, body: '<p>no</p>' })
      else await route.continue()
    })
    const distances = [5, 10].map((step) => ({ kind: 'fid', network: 'hog', reference: 'ref.zip', step, fid: step }))
    for (const [i, record] of distances.entries()) {
      await mkdir(join(run, 'evaluation'), { recursive: true })
      await writeFile(join(run, `evaluation/${i}.json`), JSON.stringify({ ...record, sampleImages: 100 }))
    }
    await expect.poll(said).toBe('The page could not be brought up to date: the server answers 403')
    await expect.poll(said).toBe('Live')
    expect(await pointAt(page, 'Fréchet distance', 0.98)).toBe('Step 10\n10.00')
  })

  test('keeps what is magnified while points come in', async () => {
    await using folders = await RunFolders.create()
    const run = await folders.add('r', {
      'config.json': CONFIG,
      'metrics.jsonl': Array.from({ length: 100 }, (_, i) => metricsLine(i + 1)),
    })
    await using watching = await watch([run], { port: 0, interval: 20 })
    await using opened = await open(watching.url)
    const { page } = opened
    const box = (await chart(page, 'Loss').locator('.pointer').boundingBox())!
    await page.mouse.move(box.x + box.width * 0.2, box.y + 50)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.4, box.y + 50, { steps: 5 })
    await page.mouse.up()
    const labels = () => chart(page, 'Loss').locator('.x-labels span').allInnerTexts()
    await expect.poll(async () => (await labels()).at(-1)).toBe('40')
    const magnified = await labels()
    await appendFile(join(run, 'metrics.jsonl'), `${JSON.stringify(metricsLine(101))}\n`)
    await expect.poll(() => shownText(page.locator('.lead [data-part=lead]'))).toBe('SiT-S/2, step 101')
    expect(await labels()).toEqual(magnified)
  })
})
