import type { CudaInfo } from '../native.ts'
import { formatBytes } from '../report/quantity.ts'
import type { CpuReport } from './diagnose.ts'

/** What of the surroundings decides the speed of the CPU device. */
export interface Surroundings {
  readonly arch: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Cores that this process may run on. */
  readonly cores: number
  /** CPUs' worth of time that the container's quota allows, if it has one. */
  readonly cpuQuota: number | undefined
  /** Processes that wanted a core lately, as the system counts them. */
  readonly load: number
  /** What /sys/kernel/mm/transparent_hugepage/enabled has chosen. */
  readonly hugePages: string | undefined
  /** Version of the NVIDIA kernel driver, where there is one. */
  readonly nvidiaDriver: string | undefined
}

/** Least memory for training SiT-B/2 at batch 32 in fp32. */
const ROOMY_BYTES = 8 * 2 ** 30

/** What to install, set or stop to go faster here, or for a CPU device that does not start, `cpu` undefined, to start; a sentence each. */
export function advise(
  cpu: CpuReport | undefined,
  around: Surroundings,
  cuda: Pick<CudaInfo, 'state' | 'reason'>,
): string[] {
  const { env, cores, cpuQuota, load, hugePages, nvidiaDriver } = around
  const advice: string[] = []
  // What was asked for of a device that has not started.
  const threads = cpu?.threads ?? Number(env.REPA_THREADS)
  const best = cpu?.levels.at(-1)
  if (cpu && cpu.level !== best)
    advice.push(`REPA_CPU_LEVEL holds the kernels at ${cpu.level}; unset it for ${best}, which is faster.`)
  else if (cpu?.level === 'portable' && around.arch === 'x64') {
    advice.push('This CPU (or the virtual machine) has no AVX2: the portable kernels are several times slower.')
  }
  if (threads < cores && env.REPA_THREADS) {
    advice.push(`REPA_THREADS is ${threads}, and ${cores} cores may be used: unset it to use them all.`)
  }
  const usable = Math.min(cores, cpuQuota ?? cores)
  if (threads > Math.ceil(usable)) {
    const why = cpuQuota !== undefined && cpuQuota < cores ? "the container's CPU quota is" : 'the cores are'
    advice.push(
      `${threads} threads compete where ${why} ${usable}: set REPA_THREADS=${Math.max(1, Math.floor(usable))}.`,
    )
  }
  if (load > cores * 0.5 + 0.5) {
    advice.push(
      `Other processes keep the machine busy (load ${load.toFixed(1)} on ${cores} cores): training slows down with them.`,
    )
  }
  if (hugePages === 'never') {
    advice.push(
      'Transparent huge pages are off: as root, `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` saves page faults.',
    )
  }
  if (cpu && cpu.memoryLimitBytes < ROOMY_BYTES) {
    advice.push(`Only ${formatBytes(cpu.memoryLimitBytes)} of memory may be used: keep to small models and batches.`)
  }
  if (nvidiaDriver !== undefined && cuda.state !== 'ready') {
    advice.push(
      `There is an NVIDIA driver (${nvidiaDriver}), but ${cuda.reason}. Until then everything computes on the CPU.`,
    )
  }
  return advice
}
