import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/summary-reporter.ts'],
    // One process at a time: the addon owns every core, and two computing processes only slow each other down.
    // Not vmThreads, which breaks `instanceof` for errors made in C++.
    pool: 'forks',
    maxWorkers: 1,
    isolate: true,
    // For a loaded machine of two cores; a test that hangs still ends the run.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
