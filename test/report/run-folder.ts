import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { encodePng } from '../../src/data/png.ts'

/** Files of a run's folder; objects become JSON, arrays JSON lines. */
export type RunFiles = Readonly<Record<string, string | Uint8Array | object>>

/** Makes folders as `repa train` does, under one that goes when the object is disposed of. */
export class RunFolders implements AsyncDisposable {
  readonly root: string

  private constructor(root: string) {
    this.root = root
  }

  static async create(): Promise<RunFolders> {
    return new RunFolders(await mkdtemp(join(tmpdir(), 'repa-report-')))
  }

  async add(name: string, files: RunFiles): Promise<string> {
    const directory = join(this.root, name)
    await mkdir(join(directory, 'samples'), { recursive: true })
    for (const [file, content] of Object.entries(files)) {
      const isText = typeof content === 'string' || content instanceof Uint8Array
      const lines = Array.isArray(content) ? content.map((line) => `${JSON.stringify(line)}\n`).join('') : undefined
      await mkdir(dirname(join(directory, file)), { recursive: true })
      await writeFile(join(directory, file), isText ? content : (lines ?? JSON.stringify(content)))
    }
    return directory
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true })
  }
}

/** One line of metrics.jsonl with plausible values. */
export function metricsLine(step: number, changes: object = {}): object {
  const loss = 0.5 + 1 / (1 + step / 50)
  return {
    step,
    loss,
    denoising: loss,
    gradNorm: 0.4,
    lr: 1e-4,
    imagesPerSecond: 100,
    seconds: step * 0.5,
    ...changes,
  }
}

export const PNG = encodePng(new Uint8Array(16 * 8 * 3).fill(90), 16, 8, 3)
