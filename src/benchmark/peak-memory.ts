import { readFileSync } from 'node:fs'

/** Most memory that this process has had resident, in bytes. */
export function peakResidentBytes(): number {
  try {
    const kibibytes = readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s+(\d+) kB$/m)?.[1]
    if (kibibytes !== undefined) return Number(kibibytes) * 1024
  } catch {
    // No /proc on this system.
  }
  // On Linux this may count what the process had before it became Node.
  return process.resourceUsage().maxRSS * 1024
}
