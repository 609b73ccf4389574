import type { Diagnosis } from '../../doctor/diagnose.ts'
import type { SystemLibrary } from '../../doctor/system-libraries.ts'
import type { CudaInfo } from '../../native.ts'
import { formatBytes, formatSignificant } from '../../report/quantity.ts'
import { defineCommand } from '../command.ts'
import type { Output } from '../output.ts'

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'show versions, devices and threads, and test that the kernels compute correctly here',
  description:
    'Also says what to install or set to go faster. It works where the addon does not load, and then says why; it fails there, and where the self-test does.',
  examples: [
    { command: 'repa doctor', description: 'what there is, and whether it works' },
    { command: 'repa doctor --json', description: 'for a bug report' },
  ],
  async run(_, { out }) {
    const { diagnose } = await import('../../doctor/diagnose.ts')
    const diagnosis = await diagnose()
    show(diagnosis, out)
    out.json(diagnosis)
    const { addon, cpu, selfTest } = diagnosis
    if (!addon.loaded) throw new Error(addon.reason)
    if (cpu && 'reason' in cpu) throw new Error(`The CPU device does not start: ${cpu.reason}`)
    if (selfTest !== undefined && 'reason' in selfTest)
      throw new Error(`The self-test could not run: ${selfTest.reason}`)
    if (!diagnosis.healthy) {
      const failed = selfTest?.checks.filter(({ passed }) => !passed).map(({ name }) => name) ?? []
      throw new Error(
        `The kernels compute wrongly on this machine: ${failed.join(', ')}. ` +
          'Build the addon here (npm rebuild repa-native --build-from-source), and if that does not help, test the memory.',
      )
    }
  },
})

function show(diagnosis: Diagnosis, out: Output): void {
  const { addon, cpu, cuda, libraries, sharp, selfTest, rate, advice } = diagnosis
  const rows: [string, string][] = [
    ['repa-native', diagnosis.version],
    [
      'Node',
      `${diagnosis.node} on ${[diagnosis.platform, diagnosis.kernel, diagnosis.libc].filter(Boolean).join(', ')}`,
    ],
    ['addon', addon.loaded ? 'loaded' : out.style.red('does not load')],
  ]
  if (cpu && 'reason' in cpu) rows.push(['cpu', out.style.red(`does not start: ${cpu.reason}`)])
  else if (cpu) {
    rows.push(
      ['cpu', cpu.model],
      [
        '',
        `level ${cpu.level} of ${cpu.levels.join(', ')}; ${cpu.threads} threads; ${formatBytes(cpu.memoryLimitBytes)}`,
      ],
    )
  }
  if (rate) {
    const share = `${Math.round((100 * rate.gemm) / rate.fmaPeak)} %`
    rows.push([
      '',
      `matrix products ${giga(rate.gemm)}, ${share} of the multiply-add peak measured beside (${giga(rate.fmaPeak)})`,
    ])
  }
  if (cuda) rows.push(...cudaRows(cuda))
  for (const { name, file } of libraries) {
    rows.push([name, `${file ?? 'not found'}; ${LIBRARY_USES[name]}`])
  }
  rows.push([
    'sharp',
    'reason' in sharp ? out.style.red(`does not load: ${sharp.reason}`) : `${sharp.version}, libvips ${sharp.libvips}`,
  ])
  if (selfTest !== undefined && 'checks' in selfTest) {
    const said = selfTest.checks.map(({ name, passed }) => (passed ? name : out.style.red(`${name} FAILED`))).join(', ')
    rows.push(['self-test', `${selfTest.passed ? 'passed' : 'failed'}: ${said}`])
  }
  const width = Math.max(...rows.map(([label]) => label.length))
  for (const [label, text] of rows) out.line(`${out.style.bold(label.padEnd(width))}  ${text}`)
  for (const [i, sentence] of advice.entries()) out.line(`${i === 0 ? '\n' : ''}${sentence}`)
}

const LIBRARY_USES: Readonly<Record<SystemLibrary['name'], string>> = {
  cuBLASLt: 'computes products with REPA_GEMM=cublaslt, or auto where it is faster',
  NCCL: 'sums gradients over GPUs with --processes',
  MPI: 'not needed: its mpirun may start the processes of --processes',
}

/** A row for every GPU, or why there is none to compute on. */
function cudaRows({ state, reason, driverVersion, runtimeVersion, devices }: CudaInfo): [string, string][] {
  const versions =
    runtimeVersion > 0 ? `; CUDA ${cudaVersion(runtimeVersion)}, driver for ${cudaVersion(driverVersion)}` : ''
  if (state !== 'ready') return [['cuda', `${reason}${driverVersion > 0 ? versions : ''}`]]
  return devices.map(({ ordinal, name, memoryBytes, computeCapability, multiprocessors, usable }) => [
    `cuda:${ordinal}`,
    `${name}, ${formatBytes(memoryBytes)}, compute capability ${computeCapability}, ${multiprocessors} multiprocessors` +
      `${usable ? '' : ' (too old for the kernels)'}${versions}`,
  ])
}

const cudaVersion = (number: number) =>
  number === 0 ? 'none' : `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`

const giga = (rate: number) => `${formatSignificant(rate / 1e9, 3)} GFLOP/s`
