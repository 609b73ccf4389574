import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Device } from '../tensor/device.ts'

/** What the driver says of a GPU at a moment; a measurement means little without it. */
export interface GpuClocks {
  readonly driver: string
  /** Of the multiprocessors and of the memory, MHz. */
  readonly sm: number
  readonly smMaximum: number
  readonly memory: number
  /** Watts. */
  readonly power: number
  readonly powerLimit: number
  /** Degrees Celsius. */
  readonly temperature: number
}

const FIELDS = 'driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu'

/** As nvidia-smi tells it; undefined where it is not there or does not answer. Changes nothing. */
export async function readGpuClocks(
  device: Device,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<GpuClocks | undefined> {
  const ordinal = Number(device.split(':')[1])
  // nvidia-smi counts all GPUs, CUDA those that it may see; both take a GPU's UUID.
  const id = env.CUDA_VISIBLE_DEVICES?.split(',')[ordinal]?.trim() || String(ordinal)
  const query = [`--query-gpu=${FIELDS}`, '--format=csv,noheader,nounits', `--id=${id}`]
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', query, { timeout: 20_000, env })
    return parseGpuClocks(stdout)
  } catch {
    return undefined
  }
}

/** A line of nvidia-smi's CSV; what it does not support, `[N/A]`, becomes NaN. */
export function parseGpuClocks(line: string): GpuClocks | undefined {
  const [driver, ...numbers] = line.trim().split(/,\s*/)
  if (!driver || numbers.length !== FIELDS.split(',').length - 1) return undefined
  const [sm, smMaximum, memory, power, powerLimit, temperature] = numbers.map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  return { driver, sm, smMaximum, memory, power, powerLimit, temperature }
}
