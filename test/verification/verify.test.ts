import { rmSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { verify } from '../../src/verification/verify.ts'
import { GoldenCopy, haveGolden } from './golden-copy.ts'

const PARAMS = 'sit-repa/sit-qknorm-h32.params.safetensors'
const FORWARD = 'sit-repa/sit-qknorm-h32.forward.safetensors'
const LOSS = 'sit-repa/sit-qknorm-h32.loss-linear-uniform.safetensors'
const SAMPLER_PARAMS = 'sit-repa/sit-h96-in8.params.safetensors'
const SAMPLER = 'samplers/sampler-h96.ode-cfg.safetensors'
const TRAINING = ['params', 'inputs', 'log', 'step1', 'step1-wd'].map(
  (part) => `training/train-h32.${part}.safetensors`,
)

const copyOf = (...paths: string[]) => new GoldenCopy((path) => paths.includes(path))

/** Adds to the float32 number of an index. */
const add = (index: number, amount: number) => (view: DataView) =>
  view.setFloat32(index * 4, view.getFloat32(index * 4, true) + amount, true)

async function failures(copy: GoldenCopy) {
  const report = await verify(copy.directory)
  return {
    passed: report.passed,
    outside: report.reports.flatMap(({ file, comparisons }) =>
      comparisons.flatMap(({ tensor, passed }) => (passed ? [] : [`${file} ${tensor}`])),
    ),
    problems: report.reports.flatMap(({ file, problems }) => problems.map((problem) => `${file}: ${problem}`)),
    report,
  }
}

describe.skipIf(!haveGolden)('verify', () => {
  test('an unchanged copy passes, and says what it does not see', async () => {
    const { report } = await failures(copyOf(PARAMS, FORWARD))
    expect(report).toMatchObject({ passed: true, files: 1, failed: 0, device: 'cpu', notExposed: 4 })
    expect(report.reports.map(({ status }) => status)).toEqual(['data', 'passed'])
    expect(report.reports[1]!.notExposed).toEqual([
      'mid.x_embedder',
      'mid.blocks.0.norm1',
      'mid.blocks.0.attn',
      'mid.blocks.0.mlp',
    ])
    expect(report.compared).toBe(Object.keys(report.reports[1]!.comparisons).length)
  })

  test.each([
    ['an output', FORWARD, 'out', 7, 1e-3],
    ['an intermediate', FORWARD, 'mid.blocks.0', 100, 1e-3],
    ['a loss', LOSS, 'total_loss', 0, 1e-3],
    ['a gradient', LOSS, 'grad.blocks.1.mlp.fc1.weight', 11, 1e-3],
  ])('one changed number in %s is found', async (_, path, tensor, index, amount) => {
    const copy = copyOf(PARAMS, path)
    await copy.changeTensor(path, tensor, add(index, amount))
    const { passed, outside, problems, report } = await failures(copy)
    expect({ passed, outside, problems }).toEqual({ passed: false, outside: [`${path} ${tensor}`], problems: [] })
    const found = report.reports.flatMap(({ comparisons }) => comparisons).find((comparison) => !comparison.passed)!
    expect(found.worstIndex.length).toBe(copy.file(path).tensors![tensor]!.shape.length)
    expect(found.error).toBeCloseTo(amount, 5)
    expect(report.worst!.comparison).toEqual(found)
  })

  test.each([
    ['an output', 'out'],
    ['an intermediate', 'mid.c'],
  ])('a NaN in %s does not pass', async (_, tensor) => {
    const copy = copyOf(PARAMS, FORWARD)
    await copy.changeTensor(FORWARD, tensor, (view) => view.setFloat32(4, Number.NaN, true))
    expect((await failures(copy)).outside).toEqual([`${FORWARD} ${tensor}`])
  })

  test('a changed parameter is found', async () => {
    const copy = copyOf(PARAMS, FORWARD)
    await copy.changeTensor(PARAMS, 'blocks.0.attn.proj.weight', add(3, 0.05))
    const { outside } = await failures(copy)
    expect(outside).toContain(`${FORWARD} out`)
    expect(outside).not.toContain(`${FORWARD} mid.tokens_in`)
  })

  test('an input of NaNs does not pass', async () => {
    const copy = copyOf(PARAMS, FORWARD)
    await copy.changeTensor(FORWARD, 'x', (view) => view.setFloat32(0, Number.NaN, true))
    expect((await failures(copy)).outside).toContain(`${FORWARD} out`)
  })

  test('the null label of a sampler is that of its args', async () => {
    const copy = copyOf(SAMPLER_PARAMS, SAMPLER)
    expect((await failures(copy)).passed).toBe(true)
    copy.file(SAMPLER).args!.null_label = 3
    copy.write()
    expect((await failures(copy)).outside).toContain(`${SAMPLER} out`)
  })

  test.each([
    ['the learning rate', { lr: 2e-3 }, 'param.x_embedder.proj.weight'],
    ['the EMA decay', { ema_decay: 0.9 }, 'ema.x_embedder.proj.weight'],
    ['the alignment weight', { proj_coeff: 1 }, 'grad.projectors.0.0.weight'],
    ['weight decay', { weight_decay: 0.1 }, 'param.x_embedder.proj.weight'],
    ['the path', { path: 'cosine' }, 'grad.x_embedder.proj.weight'],
  ])('training follows %s of its args', async (_, args, tensor) => {
    const copy = new GoldenCopy((path) => TRAINING.includes(path))
    const step = TRAINING[3]!
    Object.assign(copy.file(step).args!, args)
    copy.write()
    expect((await failures(copy)).outside).toContain(`${step} ${tensor}`)
  })

  test("Adam's first step excuses nothing where the gradient is above rounding", async () => {
    const step = TRAINING[3]!
    const tensor = 'param.blocks.0.attn.qkv.bias'
    const copy = new GoldenCopy((path) => TRAINING.includes(path))
    // Of the query's bias: its gradient is far above rounding.
    await copy.changeTensor(step, tensor, add(1, 1e-4))
    const { outside, report } = await failures(copy)
    expect(outside).toEqual([`${step} ${tensor}`])
    expect(report.reports.find(({ file }) => file === step)!.notes[0]).toMatch(/^\d+ elements have a gradient/)
  })

  test('a tolerance that is missing is an error for floats, and exact equality for integers', async () => {
    const copy = copyOf(PARAMS, FORWARD)
    delete copy.file(FORWARD).tensors!.out!.tol
    copy.write()
    const { outside, report } = await failures(copy)
    expect(outside).toEqual([`${FORWARD} out`])
    expect(report.worst!.comparison.problem).toContain('states no tolerance')
  })

  test.each<[string, (copy: GoldenCopy) => void, string]>([
    [
      'a wrong SHA-256',
      (copy) => {
        copy.file(FORWARD).sha256 = '0'.repeat(64)
      },
      'forward.safetensors is damaged: its SHA-256 is',
    ],
    [
      'a damaged parameter file',
      (copy) => {
        copy.file(PARAMS).sha256 = '0'.repeat(64)
      },
      'params.safetensors is damaged: its SHA-256 is',
    ],
    ['a missing file', (copy) => rmSync(copy.path(FORWARD)), 'there is no such file or folder; check the path'],
    ['a truncated file', (copy) => truncateSync(copy.path(FORWARD), 5000), 'is damaged: it has 5000 bytes'],
    [
      'a truncated file that the manifest knows as such',
      (copy) => {
        truncateSync(copy.path(FORWARD), 5000)
        copy.reseal(FORWARD)
      },
      FORWARD,
    ],
    [
      'an output that nothing computes',
      (copy) => {
        const { tensors } = copy.file(FORWARD)
        tensors!.other = { ...tensors!.out!, role: 'output' }
      },
      'nothing was computed for other',
    ],
    [
      'another shape in the manifest',
      (copy) => {
        copy.file(FORWARD).tensors!.out!.shape = [3, 4, 64]
      },
      'the tensor out is f32',
    ],
    [
      'args that are not right',
      (copy) => {
        copy.file(FORWARD).args!.config = { hidden_size: 32, num_heads: 5 }
      },
      'args: config.depth',
    ],
    [
      'parameters that do not fit',
      (copy) => {
        Object.assign(copy.file(FORWARD).args!.config as object, { depth: 3 })
      },
      'does not fit the model',
    ],
    [
      'parameters that are not listed',
      (copy) => {
        copy.file(FORWARD).args!.params = 'elsewhere.safetensors'
      },
      'lists no file elsewhere.safetensors',
    ],
  ])('%s fails the file and names the reason', async (_, change, message) => {
    const copy = copyOf(PARAMS, FORWARD)
    change(copy)
    copy.write()
    const { passed, problems } = await failures(copy)
    expect(passed).toBe(false)
    expect(problems.join('\n')).toContain(message)
  })

  test('a file of which nothing is compared has not passed', async () => {
    const path = 'metrics/metrics.align0.safetensors'
    const copy = copyOf(path)
    const { args, tensors } = copy.file(path)
    args!.values = {}
    delete tensors!.A_outliers_removed
    copy.write()
    const { passed, problems } = await failures(copy)
    expect({ passed, problems }).toEqual({ passed: false, problems: [`${path}: nothing of it was compared`] })
  })

  test('an unknown kind fails after everything else has run', async () => {
    const copy = copyOf(PARAMS, FORWARD)
    copy.manifest.cases[0]!.files = {
      'new.bin': { kind: 'new.kind', bytes: 3 },
      ...copy.manifest.cases[0]!.files,
    }
    writeFileSync(copy.path('new.bin'), 'abc')
    copy.write()
    const { report } = await failures(copy)
    expect(report).toMatchObject({ passed: false, failed: 1, files: 2, unknownKinds: { 'new.kind': 1 } })
    expect(report.reports.map(({ status }) => status)).toEqual(['data', 'passed', 'unknown'])
  })

  test.each<[string, { kinds?: string[]; cases?: string[] }, number, boolean]>([
    ['everything', {}, 2, true],
    ['a family', { kinds: ['sit.*'] }, 2, true],
    ['one kind', { kinds: ['sit.loss'] }, 1, true],
    ['several', { kinds: ['sit.loss', 's?t.forward'] }, 2, true],
    ['the dot is a dot', { kinds: ['sit?forward'], cases: ['sit-qknorm*'] }, 1, true],
    ['a case', { cases: ['sit-qknorm-h32'] }, 2, true],
    ['no such case', { cases: ['sit-qknorm'] }, 0, false],
    ['no such kind', { kinds: ['sit'] }, 0, false],
    ['data alone', { kinds: ['params'] }, 0, false],
  ])('selects %s', async (_, options, files, passed) => {
    const report = await verify(copyOf(PARAMS, FORWARD, LOSS).directory, options)
    expect(report).toMatchObject({ files, passed })
  })

  test('names the patterns that fit nothing', async () => {
    const report = await verify(copyOf(PARAMS, FORWARD).directory, { kinds: ['sit.*', 'samplr.*'] })
    expect(report).toMatchObject({ passed: true, unmatched: ['samplr.*'] })
  })

  test.each<[string, (manifest: Record<string, unknown>) => unknown, string]>([
    ['another format', (manifest) => ({ ...manifest, format: 'golden-2' }), 'format is "golden-2"'],
    ['no cases', ({ format }) => ({ format }), 'cases is missing'],
    [
      'a path that leaves the folder',
      (manifest) => ({ ...manifest, cases: [{ id: 'x', files: { '../x': { kind: 'params', bytes: 0 } } }] }),
      "must stay below the manifest's folder",
    ],
    ['no JSON', () => undefined, 'is not JSON'],
  ])('refuses a manifest with %s', async (_, change, message) => {
    const copy = copyOf(FORWARD)
    const changed = change(JSON.parse(JSON.stringify(copy.manifest)))
    writeFileSync(copy.path('manifest.json'), changed === undefined ? '{' : JSON.stringify(changed))
    await expect(verify(copy.directory)).rejects.toThrow(message)
  })

  test('a device that is not there is one sentence', async () => {
    await expect(verify(copyOf(PARAMS).directory, { device: 'cuda:7' })).rejects.toThrow(/there is no cuda:7 here/)
  })

  const IMAGES = (path: string) => path.startsWith('images/')
  test('a file that must be refused, but is fine, fails', async () => {
    const copy = new GoldenCopy((path) => path === 'images/png-rgb8.png')
    copy.file('images/png-rgb8.png').kind = 'image.must-fail'
    copy.write()
    expect((await failures(copy)).problems[0]).toContain('was read without complaint; it must be refused')
  })

  test('subsampled chroma may differ at an edge, not on average', async () => {
    const copy = new GoldenCopy(IMAGES)
    await copy.changeTensor('images/images.decoded.safetensors', 'jpeg-420.jpg', (view) => {
      for (let i = 0; i < view.byteLength; i++) view.setUint8(i, Math.min(255, view.getUint8(i) + 3))
    })
    const { outside, report } = await failures(copy)
    expect(outside).toEqual(['images/images.decoded.safetensors jpeg-420.jpg'])
    expect(report.worst!.comparison).toMatchObject({ tensor: 'jpeg-420.jpg', error: 3, passed: false })
    expect(report.worst!.comparison.problem).toContain('the mean difference is')
  })

  test.each([
    ['torch', 'pt/state-dict.expected.safetensors', 'fp16.x_embedder.proj.weight', 'pt/state-dict-fp16.pt'],
    ['numpy', 'pt/npz.expected.safetensors', 'samples.arr_0', 'pt/samples-adm.npz'],
  ])('%s files are compared bit for bit', async (_, expected, tensor, file) => {
    const copy = copyOf(expected, file)
    await copy.changeTensor(expected, tensor, (view) => view.setUint8(0, view.getUint8(0) ^ 1))
    const { report } = await failures(copy)
    expect(report.worst!.comparison).toMatchObject({ tensor, passed: false })
  })

  test('what a torch file lacks is missed', async () => {
    const expected = 'pt/state-dict.expected.safetensors'
    const copy = copyOf(expected, 'pt/state-dict.pt')
    copy.file(expected).tensors!.more = { role: 'output', dtype: 'F32', shape: [1], tol: { atol: 0, rtol: 0 } }
    copy.write()
    const { problems } = await failures(copy)
    expect(problems.join()).toMatch(/has no tensor/)
  })
})
