// Logs steps until the system takes no more, and says how it refuses.
import { dirname } from 'node:path'
import { MetricsLog } from '../../../src/training/metrics.ts'

const file = process.argv[2]!
const log = await MetricsLog.open(dirname(file), file, 0)
// Of about a thousand bytes.
const parts = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`part${i}`, Math.sqrt(i + 2)]))
try {
  for (let step = 1; ; step++) await log.append({ step, ...parts }, [])
} catch (error) {
  process.stdout.write(String((error as NodeJS.ErrnoException).code))
}
await log.close()
