import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'

/** A Chromium of this machine: `$REPA_CHROMIUM`, else the first of the usual names on the path. */
export const chromiumPath = process.env.REPA_CHROMIUM ?? onPath('chromium', 'chromium-browser', 'google-chrome')

/** For the names of suites that need one: says why they were skipped. */
export const chromiumSuffix =
  chromiumPath === undefined ? ' (skipped: no Chromium; install one, or set REPA_CHROMIUM to its path)' : ''

export function launchChromium(): Promise<Browser> {
  // Chromium's sandbox refuses to run as root, which is who runs in a container; the pages are our own.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  return chromium.launch({ executablePath: chromiumPath!, args })
}

function onPath(...names: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '')
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
