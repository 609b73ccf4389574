import type { SerializedError } from 'vitest'
import type { Reporter, TestModule } from 'vitest/node'

/**
 * The last lines of a test run: every skipped test with its reason, then `N passed, N failed, N skipped` alone on a line,
 * for scripts that read it.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    const skipped: string[] = []
    for (const module of modules) {
      // A file that could not be loaded, or whose hooks failed, has failed even where none of its tests has.
      if (module.errors().length > 0) counts.failed++
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) counts.failed++
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state === 'passed' || result.state === 'failed') {
          counts[result.state]++
        } else {
          counts.skipped++
          const note = result.state === 'skipped' && result.note ? `: ${result.note}` : ''
          skipped.push(`  ${module.relativeModuleId} > ${test.fullName}${note}`)
        }
      }
    }
    if (skipped.length > 0) console.log(`Skipped:\n${skipped.join('\n')}`)
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
  }
}
