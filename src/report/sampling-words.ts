import type { Json } from './json.ts'
import { formatCount } from './quantity.ts'

/** What a setting of sampling is called where samples differ in it, in the order in which they are named. */
const WORDS: Readonly<Record<string, (value: Json) => string>> = {
  mode: (mode) => String(mode).toUpperCase(),
  solver: (solver) => (solver === 'dopri5' ? 'dopri5' : capitalised(String(solver))),
  steps: (steps) => (typeof steps === 'number' ? `${formatCount(steps)} sampling steps` : `respacing ${steps}`),
  timeShift: (shift) => `time shift ${shift}`,
  path: (path) => `${path} path`,
  eta: (eta) => `η = ${eta}`,
  guidanceScale: (scale) => (scale === 1 ? 'no guidance' : `guidance ${scale}`),
  guidanceLow: (time) => `guided from t = ${time}`,
  guidanceHigh: (time) => `guided to t = ${time}`,
  guidedChannels: (channels) => `${channels} channels guided`,
  guide: (file) => (file === null ? 'guided by another model' : `guided by ${file}`),
  guideStep: (step) => (typeof step === 'number' ? `whose step is ${formatCount(step)}` : ''),
  classTokenGuidanceScale: (scale) => (scale === 0 ? 'class token not guided' : `class token’s guidance ${scale}`),
  weights: (weights) => (weights === 'ema' ? 'EMA weights' : 'weights without EMA'),
  precision: String,
  autoencoder: (file) => (file === null ? 'latents not decoded' : `decoded by ${file}`),
  autoencoderTile: (tile) => (tile === null ? 'whole images' : `tiles of ${tile}`),
  classes: (classes) => (Array.isArray(classes) ? `classes ${listed(classes)}` : 'classes drawn at random'),
  prompts: (count) =>
    `${typeof count === 'number' ? formatCount(count) : count} ${count === 1 ? 'caption' : 'captions'}`,
  promptsDigest: (digest) => `captions ${String(digest).slice(0, 8)}…`,
  captionEncoder: (name) => `encoded by ${name}`,
  seed: (seed) => `seed ${seed}`,
  sampleImages: (count) => (typeof count === 'number' ? `${formatCount(count)} samples` : 'unknown number of samples'),
  samples: String,
  isUnrecorded: (is) => (is ? 'sampling not recorded' : ''),
}

const ORDER = Object.keys(WORDS)

/** A setting in words; of one that another version knows, its name and value. */
export function settingInWords(key: string, value: Json): string {
  return WORDS[key]?.(value) ?? `${key} ${JSON.stringify(value)}`
}

/** Where a setting stands among those that are named. */
export function rankOfSetting(key: string): number {
  const rank = ORDER.indexOf(key)
  return rank < 0 ? ORDER.length : rank
}

const capitalised = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)

function listed(classes: readonly Json[]): string {
  const isRange = classes.length > 2 && classes.every((label, i) => label === Number(classes[0]) + i)
  return isRange ? `${classes[0]} to ${classes.at(-1)}` : classes.join(', ')
}
