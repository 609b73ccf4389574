import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // One process at a time: the addon owns every core, and two computing processes only slow each other down.
    // Not vmThreads, which breaks `instanceof` for errors made in C++.
    pool: 'forks',
    maxWorkers: 1,
    isolate: true,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
