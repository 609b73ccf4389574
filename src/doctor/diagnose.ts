import { readFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, release } from 'node:os'
import { messageOf } from '../formats/errors.ts'
import { type CpuLevel, type CudaInfo, native } from '../native.ts'
import { type Surroundings as AdviceSurroundings, advise } from './advice.ts'
import type { GemmRate } from './gemm-rate.ts'
import type { SelfTest } from './self-test.ts'
import { findSystemLibraries, type SystemLibrary } from './system-libraries.ts'

export interface CpuReport {
  readonly model: string
  readonly level: CpuLevel
  /** Those that this build and this CPU have, from the slowest. */
  readonly levels: readonly CpuLevel[]
  readonly threads: number
  /** What tensors may take: the machine's memory, or its container's. */
  readonly memoryLimitBytes: number
}

export interface Diagnosis {
  readonly version: string
  readonly node: string
  /** `linux-x64`. */
  readonly platform: string
  readonly kernel: string
  /** `glibc 2.36`, `musl`; undefined off Linux. */
  readonly libc: string | undefined
  readonly addon: { readonly loaded: true } | { readonly loaded: false; readonly reason: string }
  /** What the CPU device is, or why it does not start; undefined where the addon does not load. */
  readonly cpu: CpuReport | { readonly reason: string } | undefined
  /** Undefined where the addon does not load. */
  readonly cuda: CudaInfo | undefined
  /** cuBLASLt is used where REPA_GEMM asks for it, NCCL by several processes with a GPU each. */
  readonly libraries: readonly SystemLibrary[]
  /** The image library, or why it does not load. */
  readonly sharp: { readonly version: string; readonly libvips: string } | { readonly reason: string }
  /** Undefined where there is no CPU device to compare with. */
  readonly selfTest: SelfTest | { readonly reason: string } | undefined
  readonly rate: GemmRate | undefined
  readonly advice: readonly string[]
  /** Whether the addon loads and computes correctly. */
  readonly healthy: boolean
}

/**
 * What this installation is, what it runs on, and whether it computes correctly. Never rejects for what it finds: an addon
 * that does not load is a finding, and the rest is told nevertheless.
 */
export async function diagnose(): Promise<Diagnosis> {
  const [version, libraries, sharp, around] = await Promise.all([
    packageVersion(),
    findSystemLibraries(),
    imageLibrary(),
    surroundings(),
  ])
  const addon = addonReport()
  const cpu = addon.loaded ? cpuReport() : undefined
  const cuda = addon.loaded ? native().cudaInfo() : undefined
  const device = cpu && 'level' in cpu ? cpu : undefined
  const selfTest = device && cuda ? await runSelfTest(cuda) : undefined
  const healthy = selfTest !== undefined && 'passed' in selfTest && selfTest.passed
  return {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    kernel: release(),
    libc: libc(),
    addon,
    cpu,
    cuda,
    libraries,
    sharp,
    selfTest,
    rate: healthy ? await (await import('./gemm-rate.ts')).measureGemmRate() : undefined,
    advice: cuda ? advise(device, around, cuda) : [],
    healthy,
  }
}

function addonReport(): Diagnosis['addon'] {
  try {
    native()
    return { loaded: true }
  } catch (error) {
    return { loaded: false, reason: messageOf(error) }
  }
}

/** The device starts at the first question: its threads may be more than the system gives. */
function cpuReport(): CpuReport | { readonly reason: string } {
  try {
    const { level, levels, threads } = native().cpuInfo()
    const { limitBytes } = native().memoryStats('cpu')
    return { model: cpus()[0]?.model.trim() ?? 'unknown', level, levels, threads, memoryLimitBytes: limitBytes }
  } catch (error) {
    return { reason: messageOf(error) }
  }
}

/**
 * On the CPU and every GPU that the kernels run on. An operation that throws (out of memory, a device that failed) is a failed
 * test, and its sentence the reason.
 */
async function runSelfTest({ devices }: CudaInfo): Promise<SelfTest | { reason: string }> {
  try {
    const { selfTest } = await import('./self-test.ts')
    return await selfTest(['cpu', ...devices.flatMap(({ ordinal, usable }) => (usable ? [`cuda:${ordinal}`] : []))])
  } catch (error) {
    return { reason: messageOf(error) }
  }
}

async function packageVersion(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Node's diagnostic report names glibc; a Linux without it is taken for musl, the only other libc that Node is built for. */
function libc(): string | undefined {
  if (process.platform !== 'linux') return undefined
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}

async function imageLibrary(): Promise<Diagnosis['sharp']> {
  try {
    const { default: sharp } = await import('sharp')
    return { version: sharp.versions.sharp ?? 'unknown', libvips: sharp.versions.vips }
  } catch (error) {
    return { reason: messageOf(error) }
  }
}

async function surroundings(): Promise<AdviceSurroundings> {
  const [quota, hugePages, driver] = await Promise.all([
    textOf('/sys/fs/cgroup/cpu.max'),
    textOf('/sys/kernel/mm/transparent_hugepage/enabled'),
    textOf('/proc/driver/nvidia/version'),
  ])
  // `200000 100000`: microseconds of CPU time in every period; `max` where there is no limit.
  const [time, period] = (quota ?? '').split(' ').map(Number)
  return {
    arch: process.arch,
    env: process.env,
    cores: availableParallelism(),
    cpuQuota: time! > 0 && period! > 0 ? time! / period! : undefined,
    load: loadavg()[0]!,
    hugePages: hugePages?.match(/\[(\w+)\]/)?.[1],
    nvidiaDriver: driver === undefined ? undefined : (driver.match(/\b\d+\.\d+(\.\d+)?\b/)?.[0] ?? 'unknown'),
  }
}

/** The file's text, or undefined where this system has no such file. */
async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined)
}
