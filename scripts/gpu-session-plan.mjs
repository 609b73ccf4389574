// What a session on a GPU runs (gpu-session.mjs), in the order of what would be missed most: first what no session has measured yet
// (bench/results has what the last one did), what takes longest last of it, then what is measured anew.
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {string} group  what `--only` names
 * @property {readonly [string, ...string[]]} command
 * @property {number} limit  seconds after which it is ended
 * @property {'object' | 'lines'} [json]  what its stdout is: one JSON object, or one a line
 * @property {Record<string, string>} [env]
 * @property {string} [missing]  why it cannot run here, as a part of a sentence
 */

/** Model, batch and whether the step is a graph: alone, with DINOv2 ViT-B making the features. */
const STEPS = [
  ['SiT-XL/2', 256, false],
  ['SiT-XL/2', 256, true],
  ['SiT-B/2', 256, false],
  ['SiT-B/2', 256, true],
  ['SiT-L/2', 256, false],
  ['SiT-S/2', 256, false],
  ['SiT-S/2', 16, false],
  ['SiT-S/2', 16, true],
]
/** Hopper's kernels as they are chosen now, and by the choice of those that no chip has timed. */
const CHOICES = [
  ['as chosen', {}],
  ['in tiles of 128 x 192', { REPA_GEMM: 'wgmma-128x192' }],
  ['in tiles of 128 x 256', { REPA_GEMM: 'wgmma-128x256' }],
  ['with all of attention by wgmma', { REPA_ATTENTION: 'wgmma' }],
  ['with attention streamed by wgmma', { REPA_ATTENTION: 'wgmma-streamed' }],
  ['with attention streamed by mma.sync', { REPA_ATTENTION: 'mma-streamed' }],
  ["with attention's kernels chosen by measuring", { REPA_ATTENTION: 'auto' }],
]
/** Attention of 1,024 tokens, as it is chosen and by wgmma, which no chip has timed. */
const AT_512 = [
  ['', {}],
  [', all of attention by wgmma', { REPA_ATTENTION: 'wgmma' }],
]
/** What the kernels of SiT-XL/2 wait for: as they are chosen, and with the one that is not. */
const PROFILED = [
  ['', {}],
  [' with all of attention by wgmma', { REPA_ATTENTION: 'wgmma' }],
]
/** How many GPUs share a step, where there are so many: nobody has timed what they exchange. */
const SHARED = [2, 4, 8]
/** Of SiT-XL/2, for `repa plan`, which has to guess in a precision that nobody has measured: with the batch that fits in 80 GB. */
const PRECISIONS = [
  ['fp16', 128],
  ['tf32', 64],
]
/** Beside PyTorch, each side alone on the GPU: model, batch, and what the baseline is. Batch 64 is for GPUs that hold no more. */
const AGAINST = [
  ['SiT-XL/2', 256, []],
  ['SiT-B/2', 256, []],
  ['SiT-XL/2', 256, ['--baseline-variant', 'as-written']],
  ['SiT-L/2', 256, []],
  ['SiT-XL/2', 64, []],
  ['SiT-B/2', 64, []],
  ['MMDiT-d24/2', 64, []],
]
/**
 * Beside PyTorch compiled: model, what is compiled as one, the mode, and the limit in seconds. Max-autotune of the whole SiT-XL/2 has had no
 * step after five minutes. Blocks come without CUDA graphs first: PyTorch advises against these where blocks are compiled by themselves
 * (pytorch/pytorch issue 152887), and what has been tuned for the one is there for the other.
 */
const COMPILED = [
  ['SiT-XL/2', 'blocks', 'max-autotune-no-cudagraphs', 300],
  ['SiT-XL/2', 'blocks', 'max-autotune', 300],
  ['SiT-XL/2', 'whole', 'default', 400],
  ['SiT-XL/2', 'whole', 'max-autotune', 580],
  ['SiT-B/2', 'whole', 'max-autotune', 400],
]
/**
 * Where what has been compiled and tuned is kept, graph by graph and product by product, so that a call after one that was ended goes on from
 * there: https://docs.pytorch.org/tutorials/recipes/torch_compile_caching_configuration_tutorial.html. What autotuning found is kept in that
 * folder without being asked for.
 */
const COMPILER_CACHE = {
  TORCHINDUCTOR_CACHE_DIR: join(tmpdir(), 'repa-native-torchinductor'),
  TORCHINDUCTOR_FX_GRAPH_CACHE: '1',
  TORCHINDUCTOR_AUTOGRAD_CACHE: '1',
}

/**
 * @param {{ root: string, out: string, device: string, capability?: string, gpus?: number, python?: string, sanitizer?: string, ncu?: string, cublasLt?: string, nccl?: string }} where
 * `capability`: the GPU's, `9.0`; `gpus`: how many usable ones there are; `python`: one that can import torch; `sanitizer`: compute-sanitizer; `ncu`: Nsight Compute; `cublasLt`,
 * `nccl`: their files; undefined where there is none
 * @returns {Step[]}
 */
export function gpuSessionPlan({ root, out, device, capability, gpus = 1, python, sanitizer, ncu, cublasLt, nccl }) {
  const node = process.execPath
  const repaOn = (where, words) => [node, join(root, 'dist/cli/main.js'), ...words, '--device', where, '--json']
  const repa = (...words) => repaOn(device, words)
  /** Several processes have the GPUs from the first on. */
  const repaOnAll = (...words) => repaOn('cuda', words)
  const probes = join(root, 'build/conformance/conformance')
  const shim = join(root, 'build/conformance/shim-dump')
  const noProbes = existsSync(probes) ? undefined : 'build/conformance/conformance is not here (npm run pack:offline)'
  const noDump = existsSync(shim) ? noProbes : 'build/conformance/shim-dump is not here (npm run pack:offline)'
  const noSanitizer = sanitizer ? undefined : 'there is no compute-sanitizer here'
  const noHopper =
    capability === '9.0'
      ? undefined
      : `those kernels are for compute capability 9.0, and ${device} has ${capability ?? 'none'}`
  const lackOfChoice = (env) => (Object.values(env).some((value) => value.startsWith('wgmma')) ? noHopper : undefined)
  const noProfiler = ncu ? undefined : 'there is no Nsight Compute (ncu) here'
  const noPython = python ? undefined : 'there is no python3 with torch here'
  const noLibrary = cublasLt ? undefined : 'there is no cuBLASLt here'
  const kept = { REPA_KERNEL_CHOICES: join(out, 'kernel-choices.txt') }
  const library = { ...kept, REPA_CUBLASLT: cublasLt ?? '' }
  const chip = join(out, 'chip-dump')
  const sanitized = (tool) => ({
    name: `${tool} of the products and of attention`,
    group: 'sanitizer',
    command: [
      ...[sanitizer ?? 'compute-sanitizer', '--tool', tool, '--error-exitcode', '9'],
      ...[node, join(root, 'scripts/gpu-products.mjs'), device],
    ],
    limit: 120,
    missing: noSanitizer,
  })
  const stepWords = (model, batch, ...more) => [
    ...['bench', 'step', '--model', model, '--batch', String(batch), '--encoder', 'dinov2-vit-b'],
    ...more,
  ]
  const step = (...words) => repa(...stepWords(...words))
  const beside = ['--against', 'python', '--turns', 'blocks']
  return [
    { name: 'doctor', group: 'doctor', command: repa('doctor'), limit: 60, json: 'object' },
    {
      name: 'step of SiT-XL/2 at batch 256 for a minute',
      group: 'sustained',
      command: step('SiT-XL/2', 256, '--seconds', '60'),
      limit: 150,
      json: 'object',
    },
    {
      name: 'test:gpu',
      group: 'test',
      command: [node, join(root, 'scripts/test-gpu.mjs')],
      limit: 590,
      env: { REPA_TEST_DEVICES: device, ...(nccl && { REPA_NCCL: nccl }) },
    },
    ...CHOICES.flatMap(([choice, env]) => [
      {
        name: `kernels of SiT-XL/2 at batch 256 ${choice}`,
        group: 'choices',
        command: repa('bench', 'kernels', '--model', 'SiT-XL/2', '--batch', '256'),
        limit: 120,
        json: 'object',
        env: { ...kept, ...env },
        missing: lackOfChoice(env),
      },
      {
        name: `step of SiT-XL/2 at batch 256 ${choice}`,
        group: 'choices',
        command: step('SiT-XL/2', 256),
        limit: 90,
        json: 'object',
        env: { ...kept, ...env },
        missing: lackOfChoice(env),
      },
    ]),
    {
      name: 'step of SiT-XL/2 at batch 256, half of the tokens past 23 blocks',
      group: 'variants',
      command: step('SiT-XL/2', 256, '--route-tokens', '0.5'),
      limit: 90,
      json: 'object',
    },
    ...['LightningDiT-XL/2', 'MMDiT-d24/2'].map((model) => ({
      name: `step of ${model} at batch 256`,
      group: 'variants',
      command: step(model, 256),
      limit: 90,
      json: 'object',
    })),
    // As many tokens as 256 images of 256 pixels have, so that the products are the same.
    ...AT_512.map(([choice, env]) => ({
      name: `kernels of SiT-XL/2 at 512 pixels and batch 64${choice}`,
      group: 'variants',
      command: repa('bench', 'kernels', '--model', 'SiT-XL/2', '--size', '512', '--batch', '64'),
      limit: 120,
      json: 'object',
      env,
      missing: lackOfChoice(env),
    })),
    // What each of eight GPUs has of a batch of 256; with nothing computed again it fits an H100.
    ...AT_512.map(([choice, env]) => ({
      name: `step of SiT-XL/2 at 512 pixels and batch 32${choice}`,
      group: 'variants',
      command: step('SiT-XL/2', 32, '--size', '512'),
      limit: 90,
      json: 'object',
      env,
      missing: lackOfChoice(env),
    })),
    ...SHARED.flatMap((count) =>
      [[], ['--cuda-graph']].map((graph) => ({
        name: `step of SiT-XL/2 at batch 256 by ${count} GPUs${graph.length ? ' as a graph' : ''}`,
        group: 'processes',
        command: repaOnAll(...stepWords('SiT-XL/2', 256, '--processes', String(count), ...graph)),
        limit: 120,
        json: 'object',
        env: { ...(nccl && { REPA_NCCL: nccl }) },
        missing: gpus < count ? `there are fewer than ${count} GPUs` : undefined,
      })),
    ),
    ...PROFILED.map(([choice, env]) => ({
      name: `where products and attention of SiT-XL/2 at batch 256 wait${choice}`,
      group: 'profile',
      command: [node, join(root, 'scripts/gpu-profile.mjs'), device, 'SiT-XL/2', '256'],
      limit: 200,
      json: 'lines',
      env: { ...env, REPA_NCU: ncu ?? '' },
      missing: noProfiler ?? lackOfChoice(env),
    })),
    {
      name: 'sampling of SiT-XL/2 beside PyTorch',
      group: 'sampling',
      command: repa(
        ...['bench', 'sample', '--model', 'SiT-XL/2', '--batch', '64', '--steps', '50'],
        ...['--against', 'python'],
      ),
      limit: 180,
      json: 'object',
      env: { REPA_PYTHON: python ?? '' },
      missing: noPython,
    },
    ...PRECISIONS.map(([precision, batch]) => ({
      name: `step of SiT-XL/2 at batch ${batch} in ${precision}`,
      group: 'precisions',
      command: step('SiT-XL/2', batch, '--precision', precision),
      limit: 90,
      json: 'object',
    })),
    ...COMPILED.map(([model, regions, mode, limit]) => ({
      name: `step of ${model} at batch 256 beside PyTorch compiled ${regions === 'blocks' ? 'block by block' : 'as a whole'} (${mode})`,
      group: 'compile',
      command: step(
        model,
        256,
        ...beside,
        ...['--baseline-compile', mode, '--baseline-regions', regions],
        '--baseline-log',
      ),
      limit,
      json: 'object',
      env: { REPA_PYTHON: python ?? '', ...COMPILER_CACHE },
      missing: noPython,
    })),
    { name: 'conformance: the chip', group: 'conformance', command: [probes, chip], limit: 60, missing: noProbes },
    {
      name: 'conformance: beside the shim',
      group: 'conformance',
      command: [probes, '--compare', chip, shim],
      limit: 60,
      missing: noDump,
    },
    {
      name: 'kernels of SiT-XL/2 at batch 256',
      group: 'kernels',
      command: repa('bench', 'kernels', '--model', 'SiT-XL/2', '--batch', '256'),
      limit: 120,
      json: 'object',
    },
    {
      name: 'kernels of SiT-XL/2 at batch 256 by cuBLASLt',
      group: 'kernels',
      command: repa('bench', 'kernels', '--model', 'SiT-XL/2', '--batch', '256'),
      limit: 120,
      json: 'object',
      env: { ...library, REPA_GEMM: 'cublaslt' },
      missing: noLibrary,
    },
    {
      name: 'test:gpu, products by cuBLASLt',
      group: 'test',
      command: [
        node,
        join(root, 'scripts/test-gpu.mjs'),
        'test/tensor/ops/linear.test.ts',
        'test/tensor/ops/products.test.ts',
      ],
      limit: 120,
      env: { ...library, REPA_TEST_DEVICES: device, REPA_GEMM: 'cublaslt' },
      missing: noLibrary,
    },
    ...STEPS.map(([model, batch, graph]) => ({
      name: `step of ${model} at batch ${batch}${graph ? ' as a graph' : ''}`,
      group: 'steps',
      command: step(model, batch, ...(graph ? ['--cuda-graph'] : [])),
      limit: 90,
      json: 'object',
    })),
    {
      name: 'step of SiT-XL/2 at batch 256, computing again what fits an H100 then',
      group: 'steps',
      command: step('SiT-XL/2', 256, '--recompute', 'elementwise'),
      limit: 120,
      json: 'object',
    },
    {
      name: 'step of SiT-XL/2 at batch 256, the fastest products',
      group: 'steps',
      command: step('SiT-XL/2', 256),
      limit: 120,
      json: 'object',
      env: { ...library, REPA_GEMM: 'auto' },
    },
    sanitized('racecheck'),
    sanitized('memcheck'),
    {
      name: "PyTorch's attention by backend",
      group: 'python',
      command: [python ?? 'python3', '-B', join(root, 'bench/python/sdpa.py'), device],
      limit: 120,
      json: 'lines',
      missing: noPython,
    },
    ...AGAINST.map(([model, batch, baseline]) => ({
      name: `step of ${model} at batch ${batch} beside PyTorch${baseline.length ? ` (${baseline[1]})` : ''}`,
      group: 'python',
      command: step(model, batch, ...beside, ...baseline),
      limit: 150,
      json: 'object',
      env: { REPA_PYTHON: python ?? '' },
      missing: noPython,
    })),
  ]
}
