import { type CudaDeviceInfo, type MemoryStats, native, type OperationCost } from '../native.ts'
import { Meanwhile } from './meanwhile.ts'

/** `cpu`; `cuda:N` where the addon has CUDA. */
export type Device = string

/**
 * What a user's `auto`, `cpu`, `cuda` or `cuda:N` means here: `auto` is the first GPU that the kernels run on, or the CPU where
 * there is none; `cuda` that GPU. Throws, with the reason, where the named device is not to be had, and where that is none.
 */
export function resolveDevice(name: string): Device {
  if (!/^(cpu|auto|cuda(:\d+)?)$/.test(name))
    throw new Error(`There is no device ${JSON.stringify(name)}; expected cpu, cuda, cuda:N or auto.`)
  if (name === 'cpu') return 'cpu'
  const { state, reason, devices } = native().cudaInfo()
  const first = devices.find(({ usable }) => usable)
  if (name === 'auto') return first ? `cuda:${first.ordinal}` : 'cpu'
  if (!first || state !== 'ready') throw new Error(`There is no ${name} here: ${reason}. Use \`device\` cpu or auto.`)
  if (name === 'cuda') return `cuda:${first.ordinal}`
  const named = devices.find(({ ordinal }) => name === `cuda:${ordinal}`)
  if (!named) {
    const present = devices.map(({ ordinal, name: model }) => `cuda:${ordinal} (${model})`).join(', ')
    throw new Error(`There is no ${name} here; there ${devices.length === 1 ? 'is' : 'are'} ${present}.`)
  }
  if (!named.usable) {
    throw new Error(
      `${name} (${named.name}) has compute capability ${named.computeCapability}; the kernels need 8.0 or later. Use \`device\` cpu.`,
    )
  }
  return name
}

/** A device as it is; whatever else a user may call one, as `resolveDevice` has it. */
export function deviceOf(name: string): Device {
  return name === 'cpu' || /^cuda:\d+$/.test(name) ? name : resolveDevice(name)
}

/** What the addon says of a GPU; undefined for the CPU, and for a GPU that is not here. */
export function gpuOf(device: Device): CudaDeviceInfo | undefined {
  return native()
    .cudaInfo()
    .devices.find(({ ordinal }) => device === `cuda:${ordinal}`)
}

/** The GPUs that the kernels run on, of those that this process sees. */
export function usableGpus(): readonly CudaDeviceInfo[] {
  return native()
    .cudaInfo()
    .devices.filter(({ usable }) => usable)
}

/** Waits until everything enqueued on the device has run; rejects with what failed there, by the operation's name. */
export function synchronize(device: Device): Promise<void> {
  return native().synchronize(device)
}

/** Forgets a failure that the device keeps reporting, so that it can be used again. */
export function resetDevice(device: Device): void {
  native().resetDevice(device)
}

/** Whether products may be made in tf32: the addon does not tell. */
const tf32 = new Map<Device, Meanwhile<boolean>>()

/**
 * Whether products of f32 matrices that are enqueued on the device from here on may round their operands to tf32's 10 bits of significand,
 * for the tensor cores' sake, as `torch.backends.cuda.matmul.allow_tf32` lets them. At first they may not. Throws where it is turned
 * on for the CPU.
 */
export function allowTf32(device: Device, on: boolean): void {
  native().allowTf32(device, on)
  tf32Of(device).value = on
}

/** `allowTf32` until what it returns is disposed of: then products may be made as `Meanwhile` says. */
export function allowTf32Meanwhile(device: Device, on: boolean): Disposable {
  return tf32Of(device).begin(on, (holds) => allowTf32(device, holds))
}

function tf32Of(device: Device): Meanwhile<boolean> {
  const own = tf32.get(device) ?? new Meanwhile(false)
  tf32.set(device, own)
  return own
}

/** What the device's allocator holds, in bytes. */
export function memoryStats(device: Device): MemoryStats {
  return native().memoryStats(device)
}

/** Starts a new measurement of `peakBytes`. */
export function resetPeakMemory(device: Device): void {
  native().resetPeakMemory(device)
}

/** Tensors and cached blocks together may not pass this; default: the GPU's memory, or the machine's (or container's). */
export function setMemoryLimit(device: Device, bytes: number): void {
  native().setMemoryLimit(device, bytes)
}

/** Gives the allocator's free blocks back to the system; waits for the queue. */
export function trimMemory(device: Device): void {
  native().trimMemory(device)
}

/** Runs `body` and returns what each operation of the device has cost meanwhile, by its name, the dearest first. */
export async function profile(device: Device, body: () => Promise<void>): Promise<Map<string, OperationCost>> {
  await synchronize(device)
  native().profile(device, true)
  try {
    await body()
    await synchronize(device)
    return new Map(Object.entries(native().costs(device)).sort(([, a], [, b]) => b.seconds - a.seconds))
  } finally {
    native().profile(device, false)
  }
}
