/** Loads the addon: the only file that may touch it. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NativeAddon } from './native-addon.ts'

export type * from './native-addon.ts'

/** Only where it is needed: a bundle of another module system has no `import.meta.url`. */
const packageRoot = () => join(dirname(fileURLToPath(import.meta.url)), '..')

function load(): NativeAddon {
  try {
    return createRequire(import.meta.url)('node-gyp-build')(packageRoot())
  } catch (cause) {
    if (!isInPackage()) {
      throw new Error(
        'repa-native could not load its addon: this is a bundle, which an addon cannot be part of. ' +
          'Leave repa-native external (esbuild: --external:repa-native) and install it beside the bundle.',
        { cause },
      )
    }
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split('\n') as [string]
    throw new Error(
      `repa-native could not load its addon for ${process.platform}-${process.arch}: ${reason.replace(/\.$/, '')}. ` +
        'If the package manager blocked the install script, approve it and run `npm rebuild repa-native`; ' +
        'in a checkout run `npm run build:native`.',
      { cause },
    )
  }
}

/** Whether this file lies where the package has it: in a bundle it is beside it, or anywhere. */
function isInPackage(): boolean {
  try {
    return JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).name === 'repa-native'
  } catch {
    return false
  }
}

let loaded: NativeAddon | undefined

/** The addon, loaded at first use: so that importing the library costs nothing. Throws an Error that says what to do. */
export function native(): NativeAddon {
  if (standIn) return standIn
  loaded ??= load()
  return loaded
}

let standIn: NativeAddon | undefined

/**
 * Runs synchronous code on another implementation of the addon's surface, of the whole program meanwhile: the planning device's
 * (planning/planning-device.ts), which works out shapes and what they cost and computes nothing. The addon need not be there.
 */
export function withAddon<R>(addon: NativeAddon, body: () => R): R {
  const outer = standIn
  standIn = addon
  try {
    return body()
  } finally {
    standIn = outer
  }
}
