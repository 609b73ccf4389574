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
  // A step may be that of several processes.
  benchmark: [
    'training',
    'models',
    'alignment',
    'diffusion',
    'data',
    'distributed',
    'formats',
    'nn',
    'tensor',
    'native.ts',
  ],
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
  doctor: ['benchmark', 'training', 'models', 'formats', 'tensor', 'native.ts'],
  // An encoder of one's own is trained with the optimizer and the checkpoints of all training.
  pretraining: ['training', 'models', 'alignment', 'data', 'formats', 'nn', 'tensor'],
  // Processes that share a job exchange tensors.
  distributed: ['tensor', 'native.ts'],
  training: ['distributed', 'text', 'models', 'alignment', 'diffusion', 'data', 'formats', 'nn', 'tensor', 'native.ts'],
  evaluation: ['text', 'models', 'alignment', 'diffusion', 'data', 'formats', 'nn', 'tensor', 'native.ts'],
  // Runs are compared by the settings of a training, of which a model has one spelling.
  report: ['training', 'formats'],
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

/** The same of the folders of native/. */
const MAY_INCLUDE: Readonly<Record<string, readonly string[]>> = {
  addon: ['ops', 'cuda', 'cpu', 'core'],
  ops: ['cuda', 'cpu', 'core'],
  // A kernel on a GPU takes its argument struct and its formula from the CPU's header.
  cuda: ['cpu', 'core'],
  cpu: ['core'],
  core: [],
  // What runs the kernels of cuda/ on a CPU stands above them: it is the tests' alone.
  simt: ['cuda', 'core'],
}

/** Parsing outside input against a schema stands beside all layers: it imports nothing and any may import it. */
const ANYWHERE = ['configuration']

/** Single imports against the direction, each with its reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'evaluation/feature-memory.ts → report/quantity.ts': 'both write quantities for people',
  'doctor/advice.ts → report/quantity.ts': 'both write quantities for people',
  'planning/fit.ts → report/quantity.ts': 'both write quantities for people',
  'diffusion/sample-to-folder.ts → data/grid.ts': 'images that are sampled to a folder are also shown in a grid',
  'diffusion/sample-to-folder.ts → data/png.ts': 'which is a PNG file',
  'diffusion/image-folder.ts → data/png.ts': 'and so is each of them',
  'diffusion/image-folder.ts → data/image-decoding.ts': 'which are read back for the grid, and where a call goes on',
  'diffusion/image-folder.ts → data/ordered-map.ts': 'several at once',
  'diffusion/sample-to-folder.ts → data/one-ahead.ts': 'while the next are sampled',
  'diffusion/sampled-array.ts → formats/npz.ts': 'and an npz file for the ADM suite',
  'diffusion/sampled-array.ts → formats/errors.ts': 'of which each process writes its part',
  'diffusion/image-folder.ts → formats/if-there.ts': 'in a folder that may be there',
  'diffusion/sample-to-folder.ts → formats/folder-in-use.ts': "and is nobody else's meanwhile",
  'diffusion/sample-to-folder.ts → formats/make-folder.ts': 'which is made where it is not',
  'diffusion/sample-to-folder.ts → formats/atomic-file.ts': 'the grid whole, or not there',
  'diffusion/image-folder.ts → formats/atomic-file.ts': 'and each image',
  'diffusion/unfinished-sampling.ts → formats/atomic-file.ts': 'and what says that a batch is',
  'diffusion/unfinished-sampling.ts → formats/make-folder.ts': 'in a folder of its own',
  'diffusion/unfinished-sampling.ts → formats/if-there.ts': 'which a finished sampling has not',
  'diffusion/unfinished-sampling.ts → formats/errors.ts': 'or cannot be read',
  'diffusion/unfinished-sampling.ts → formats/path-status.ts': 'and where a half of one counts for nothing',
  'diffusion/sampling-record.ts → formats/atomic-file.ts': 'with a record beside them, which nobody sees half of',
  'diffusion/sampling-record.ts → formats/if-there.ts': 'and which the images of others do not have',
}

/** And single includes. */
const INCLUDE_EXCEPTIONS: Readonly<Record<string, string>> = {
  'cuda/ptx.h → simt/ptx_emulation.h': 'under REPA_SIMT, what stands for the special instructions',
  'cuda/ptx_prefetch.h → simt/ptx_emulation.h': 'and for those that prefetch',
}

const layerOf = (file: string) => file.split('/')[0]!

interface Edge {
  readonly from: string
  readonly to: string
  readonly text: string
}

/** From one layer to another; within one there is none. */
const edgesBetween = (from: string, to: string): Edge[] =>
  layerOf(from) === layerOf(to) ? [] : [{ from, to, text: `${from} → ${to}` }]

const edges = sourceFiles('src', ['.ts']).flatMap((path) =>
  ts.preProcessFile(readFileSync(join(ROOT, path), 'utf8')).importedFiles.flatMap(({ fileName }) => {
    const from = path.slice('src/'.length)
    return fileName.startsWith('.') ? edgesBetween(from, normalize(join(dirname(from), fileName))) : []
  }),
)

/** Of what is in quotes, a path from native/ or a file beside the one that includes it. */
const includes = sourceFiles('native', ['.h', '.cuh', '.cpp', '.cu']).flatMap((path) =>
  [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^\s*#\s*include\s*"([^"]+\/[^"]+)"/gm)].flatMap(([, to]) =>
    edgesBetween(path.slice('native/'.length), normalize(to!)),
  ),
)

function against(
  all: readonly Edge[],
  allowed: Readonly<Record<string, readonly string[]>>,
  exceptions: Readonly<Record<string, string>>,
): string[] {
  const isAllowed = ({ from, to, text }: Edge) => {
    const below = allowed[layerOf(from)] ?? []
    return below.includes('*') || below.includes(layerOf(to)) || ANYWHERE.includes(layerOf(to)) || text in exceptions
  }
  return all.filter((edge) => !isAllowed(edge)).map(({ text }) => text)
}

function unneeded(all: readonly Edge[], exceptions: Readonly<Record<string, string>>): string[] {
  const texts = new Set(all.map(({ text }) => text))
  return Object.keys(exceptions).filter((text) => !texts.has(text))
}

describe('dependencies point one way', () => {
  test('every folder imports only from those below it', () => {
    expect(edges.length).toBeGreaterThan(100)
    expect(against(edges, MAY_IMPORT, EXCEPTIONS)).toEqual([])
  })

  test('every folder of native/ includes only from those below it', () => {
    expect(includes.length).toBeGreaterThan(200)
    expect(against(includes, MAY_INCLUDE, INCLUDE_EXCEPTIONS)).toEqual([])
  })

  test('every exception is still needed', () => {
    expect([...unneeded(edges, EXCEPTIONS), ...unneeded(includes, INCLUDE_EXCEPTIONS)]).toEqual([])
  })

  test('nothing outside src/ is imported', () => {
    expect(edges.filter(({ to }) => to.startsWith('..')).map(({ text }) => text)).toEqual([])
  })
})
