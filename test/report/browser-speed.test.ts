import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { watch } from '../../src/report/watch/watch.ts'
import { chromiumPath, chromiumSuffix } from './chromium.ts'
import { chart, pointAt, shownText, useBrowser } from './page-in-browser.ts'
import { metricsLine, RunFolders } from './run-folder.ts'

describe.skipIf(chromiumPath === undefined)(`the report's speed in a browser${chromiumSuffix}`, () => {
  const open = useBrowser()

  test('of 100,000 points reading values fits a frame, magnifying and appending are felt as immediate', async () => {
    const count = 100_000
    const spike = 54_321
    await using folders = await RunFolders.create()
    const noise = (i: number) => ((i * 0.618033988749895) % 1) - 0.5
    const line = (step: number) =>
      metricsLine(step, {
        loss: step === spike ? 9 : 0.5 + 1 / (1 + step / 1000) + 0.2 * noise(step),
        denoising: 0.5,
        alignment: -0.5 + 0.1 * noise(step),
        gradNorm: 1 + noise(step),
        imagesPerSecond: 100 + 10 * noise(step),
      })
    const run = await folders.add('r', {
      'config.json': {},
      'metrics.jsonl': Array.from({ length: count }, (_, i) => line(i + 1)),
    })
    await using watching = await watch([run], { port: 0, interval: 20 })
    await using opened = await open(watching.url)
    const { page } = opened
    const box = (await chart(page, 'Loss').locator('.pointer').boundingBox())!

    // The spike is drawn, though 83 steps share each pixel, and the pointer reads single steps of the 100,000.
    const top = await chart(page, 'Loss')
      .locator('path.raw')
      .evaluate((path) => (path as SVGGraphicsElement).getBBox().y)
    expect(top).toBeLessThan(0)
    const tip = await pointAt(page, 'Loss', (spike + 0.2) / count)
    const step = Number(tip.match(/^Step ([\d,]+)/)![1]!.replaceAll(',', ''))
    expect(tip).toContain(`logged ${step === spike ? '9.000' : (line(step) as { loss: number }).loss.toFixed(4)}`)

    // The time that the page's main thread computed (not the clock's, which other processes push on): script, style,
    // layout and paint of one hover, in which every chart marks the step.
    const devtools = await page.context().newCDPSession(page)
    await devtools.send('Performance.enable', { timeDomain: 'threadTicks' })
    const busy = async () => {
      const { metrics } = await devtools.send('Performance.getMetrics')
      return metrics.find(({ name }) => name === 'TaskDuration')!.value * 1000
    }
    const moves = 120
    const beforeHover = await busy()
    for (let i = 0; i < moves; i++) {
      await page.mouse.move(box.x + (box.width * (i + 0.5)) / moves, box.y + 80)
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(done)))
    }
    const hover = ((await busy()) - beforeHover) / moves

    // Waited for in the page: polls would be counted too. @returns what waits for it, from now on
    const nextDrawing = async (selector: string) => {
      const drawn = await page.locator(selector).evaluateHandle((part) => ({
        whole: new Promise((done) =>
          new MutationObserver(() =>
            // With what else its frame draws: style, layout and paint.
            requestAnimationFrame(() => setTimeout(done)),
          ).observe(part, { childList: true, subtree: true }),
        ),
      }))
      return () => drawn.evaluate(({ whole }) => whole)
    }
    const stepLabels = '.chart[data-chart="Loss"] .x-labels'
    const firstLabel = async () => Number.parseFloat((await page.locator(`${stepLabels} span`).allInnerTexts())[0]!)

    const magnified = await nextDrawing(stepLabels)
    const beforeZoom = await busy()
    await page.mouse.move(box.x + box.width * 0.3, box.y + 80)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.7, box.y + 80)
    await page.mouse.up()
    await magnified()
    const zoom = (await busy()) - beforeZoom
    expect(await firstLabel()).toBeGreaterThan(0)

    const whole = await nextDrawing(stepLabels)
    await page.getByRole('button', { name: 'Whole run' }).click()
    await whole()
    expect(await firstLabel()).toBe(0)

    const appended = await nextDrawing('.lead [data-part=lead]')
    const beforeAppend = await busy()
    await appendFile(join(run, 'metrics.jsonl'), `${JSON.stringify(line(count + 1))}\n`)
    await appended()
    const append = (await busy()) - beforeAppend
    expect(await shownText(page.locator('.lead [data-part=lead]'))).toBe('step 100,001')
    console.log(`hover ${hover.toFixed(2)} ms, magnify ${zoom.toFixed(1)} ms, append ${append.toFixed(1)} ms`)
    // A frame of 60 a second has 16.7 ms.
    expect(hover).toBeLessThan(1000 / 60)
    // What answers within 100 ms is felt as immediate (R. B. Miller, 1968; J. Nielsen, "Usability Engineering", 1993, 5.5).
    expect(zoom).toBeLessThan(100)
    expect(append).toBeLessThan(100)
    expect(opened.complaints).toEqual([])
  })
})
