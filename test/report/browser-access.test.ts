/** Reports for whoever prints them, goes by keys, hears them or sees other colours. */
import type { Page } from 'playwright-core'
import { describe, expect, test } from 'vitest'
import { chromiumPath, chromiumSuffix } from './chromium.ts'
import { CONFIG, reportOf, useBrowser, wholeRun, written } from './page-in-browser.ts'
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
})
