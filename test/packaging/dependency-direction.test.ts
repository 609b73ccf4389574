import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { ROOT, sourceFiles } from './source-files.ts'

/** Which folders of src/ (or files at its top) each may import; the way down is written out, so that a new edge is a decision. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'index.ts': ['*'],
  'jobs.ts': ['*'],
  cli: ['*'],
  'demo.ts': ['evaluation', 'training', 'alignment', 'diffusion', 'data', 'formats', 'tensor'],
  // The golden vectors exercise every layer.
  verification: [
    'evaluation',
    'training',
    'models',
    'alignment',
    'diffusion',
    'data',
    'formats',
    'nn',
    'tensor',
    'native.ts',
  ],
  benchmark: ['training', 'models', 'alignment', 'diffusion', 'data', 'formats', 'nn', 'tensor', 'native.ts'],
  // A planned step is the trainer's, of one of several processes maybe, and its machine's speed is what was benchmarked, or a data sheet's.
  planning: [
    'benchmark',
    'training',
    'distributed',
    'text',
    'models',
    'alignment',
    'data',
    'nn',
    'tensor',
    'native.ts',
  ],
  conversion: ['training', 'models', 'alignment', 'formats', 'nn', 'tensor'],
  // Its self-test is a small training step.
  doctor: ['benchmark', 'training', 'models', 'tensor', 'native.ts'],
  // An encoder of one's own is trained with the optimizer and the checkpoints of all training.
  pretraining: ['training', 'models', 'alignment', 'data', 'formats', 'nn', 'tensor'],
  // Processes that share a job exchange tensors.
  distributed: ['tensor', 'native.ts'],
  training: ['distributed', 'text', 'models', 'alignment', 'diffusion', 'data', 'formats', 'nn', 'tensor', 'native.ts'],
  evaluation: ['text', 'models', 'alignment', 'diffusion', 'data', 'formats', 'nn', 'tensor', 'native.ts'],
  report: ['formats'],
  // A text tower's files name their blocks as those of the image tower beside it do.
  text: ['alignment', 'models', 'formats', 'nn', 'tensor', 'native.ts'],
  // An encoder is a model from a file with its preprocessing in front.
  alignment: ['models', 'formats', 'nn', 'tensor', 'native.ts'],
  // A model of text is sampled by captions.
  diffusion: ['distributed', 'text', 'models', 'tensor', 'native.ts'],
  models: ['formats', 'nn', 'tensor', 'native.ts'],
  // Processes share a preparation.
  data: ['distributed', 'formats', 'tensor'],
  nn: ['tensor', 'native.ts'],
  formats: ['tensor'],
  tensor: ['native.ts'],
  'native.ts': ['native-addon.ts'],
  // The names of dtypes are the tensors'; the addon's declaration only says which it takes.
  'native-addon.ts': ['tensor'],
  configuration: [],
}

/** Parsing outside input against a schema stands beside all layers: it imports nothing and any may import it. */
const ANYWHERE = ['configuration']

/** Single imports against the direction, each with its reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'evaluation/feature-memory.ts → report/quantity.ts': 'both write quantities for people',
  'doctor/advice.ts → report/quantity.ts': 'both write quantities for people',
  'planning/fit.ts → report/quantity.ts': 'both write quantities for people',
  'diffusion/sample-to-folder.ts → data/grid.ts': 'images that are sampled to a folder are also shown in a grid',
  'diffusion/sample-to-folder.ts → data/image-decoding.ts': 'which are read back for the grid',
  'diffusion/sample-to-folder.ts → data/png.ts': 'images that are sampled to a folder are PNG files',
  'diffusion/sample-to-folder.ts → data/ordered-map.ts': 'several at once',
  'diffusion/sample-to-folder.ts → data/one-ahead.ts': 'while the next are sampled',
  'diffusion/sampled-array.ts → formats/npz.ts': 'and an npz file for the ADM suite',
  'diffusion/sampled-array.ts → formats/errors.ts': 'of which each process writes its part',
  'diffusion/sample-to-folder.ts → formats/if-there.ts': 'in a folder that may be there',
  'diffusion/sample-to-folder.ts → formats/folder-in-use.ts': "and is nobody else's meanwhile",
  'diffusion/sample-to-folder.ts → formats/make-folder.ts': 'which is made where it is not',
  'diffusion/sample-to-folder.ts → formats/atomic-file.ts': 'each of them whole, or not there',
  'diffusion/sampling-record.ts → formats/atomic-file.ts': 'with a record beside them, which nobody sees half of',
  'diffusion/sampling-record.ts → formats/if-there.ts': 'and which the images of others do not have',
}

const layerOf = (file: string) => file.split('/')[0]!

const edges = sourceFiles('src', ['.ts']).flatMap((path) =>
  ts.preProcessFile(readFileSync(join(ROOT, path), 'utf8')).importedFiles.flatMap(({ fileName }) => {
    if (!fileName.startsWith('.')) return []
    const from = path.slice('src/'.length)
    const to = normalize(join(dirname(from), fileName))
    return layerOf(from) === layerOf(to) ? [] : [{ from, to, text: `${from} → ${to}` }]
  }),
)

describe('dependencies point one way', () => {
  test('every folder imports only from those below it', () => {
    expect(edges.length).toBeGreaterThan(100)
    const wrong = edges.filter(({ from, to, text }) => {
      const allowed = MAY_IMPORT[layerOf(from)] ?? []
      return !(
        allowed.includes('*') ||
        allowed.includes(layerOf(to)) ||
        ANYWHERE.includes(layerOf(to)) ||
        text in EXCEPTIONS
      )
    })
    expect(wrong.map(({ text }) => text)).toEqual([])
  })

  test('every exception is still needed', () => {
    const texts = new Set(edges.map(({ text }) => text))
    expect(Object.keys(EXCEPTIONS).filter((text) => !texts.has(text))).toEqual([])
  })

  test('nothing outside src/ is imported', () => {
    expect(edges.filter(({ to }) => to.startsWith('..')).map(({ text }) => text)).toEqual([])
  })
})
