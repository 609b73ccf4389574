import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './test/longest-first.ts'
import { byProcess } from './test/own-process.ts'

/** The addon whose CUDA kernels run on the CPU (native/simt), where this machine could build it. */
const simt = resolve('build/simt')
const haveSimt = existsSync(`${simt}/build/Release/repa_native.node`)

/** What runs on a GPU, a real one or the shim's. */
const onDevice = {
  include: [
    'test/gpu/**/*.test.ts',
    'test/tensor/**/*.test.ts',
    'test/training/optimizer*.test.ts',
    'test/models/clip-text.test.ts',
    'test/models/ddt-head.test.ts',
    'test/models/encode-images.test.ts',
    'test/models/joint-network.test.ts',
    'test/models/rae-autoencoder.test.ts',
    'test/models/vit-gradient.test.ts',
    'test/pretraining/dino-head.test.ts',
    'test/pretraining/dino.test.ts',
    'test/pretraining/mae.test.ts',
    'test/pretraining/resume.test.ts',
    'test/training/captions.test.ts',
    'test/training/feature-encoder.test.ts',
    'test/training/recomputation.test.ts',
    'test/training/processes.test.ts',
    'test/planning/memory.test.ts',
    'test/native/device.test.ts',
    'test/native/communicator.test.ts',
  ],
  exclude: ['test/tensor/ops/levels.test.ts'],
}

/** By whether a file has a process of its own: 77 of those that share them took 59 s so, and 97 s with one each. */
const { own, shared } = byProcess()

/** The same files on the shim, with its own. */
const onShim = {
  ...onDevice,
  include: ['test/simt/**/*.test.ts', ...onDevice.include],
  env: { REPA_NATIVE_PREBUILD: simt, REPA_TEST_DEVICES: 'cuda:0' },
}

/** What times processes of its own, and would time its neighbours too. */
const timed = ['test/packaging/start-up.test.ts', 'test/report/browser-speed.test.ts']

export default defineConfig({
  test: {
    reporters: ['default', './test/summary-reporter.ts'],
    setupFiles: ['test/array-equality.ts'],
    // Not vmThreads, which breaks `instanceof` for errors made in C++.
    pool: 'forks',
    // Each addon owns every core, but the shim's kernels run on one and much else waits: on two cores the suite takes 0.62 of the time that it
    // takes one file at a time. On a GPU the time goes to the float64 references: processes share it, each a few hundred MB of it.
    maxWorkers: process.env.REPA_TEST_GPU ? Math.min(8, Math.ceil(availableParallelism() / 2)) : 2,
    isolate: true,
    sequence: { sequencer: LongestFirst },
    // For a loaded machine of two cores; a test that hangs still ends the run.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'here',
          include: ['test/**/*.test.ts'],
          exclude: ['test/simt/**', 'test/gpu/**', ...timed, ...shared],
        },
      },
      {
        extends: true,
        test: {
          name: 'here-shared',
          include: shared,
          exclude: ['test/simt/**', 'test/gpu/**', ...timed],
          isolate: false,
        },
      },
      // When all others have ended, one after the other.
      { extends: true, test: { name: 'timed', include: timed, fileParallelism: false, sequence: { groupOrder: 1 } } },
      ...(process.env.REPA_TEST_GPU ? [{ extends: true as const, test: { name: 'gpu', ...onDevice } }] : []),
      // The tables of cases once more, on the CUDA kernels.
      ...(haveSimt
        ? [
            {
              extends: true as const,
              test: { name: 'simt', ...onShim, exclude: [...onShim.exclude, ...shared] },
            },
            {
              extends: true as const,
              test: { name: 'simt-shared', ...onShim, exclude: [...onShim.exclude, ...own], isolate: false },
            },
          ]
        : []),
    ],
  },
})
