import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { javascriptOf } from '../../scripts/javascript-of.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** How a child process ended. */
export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcess
  /** What it has written so far. */
  readonly seen: { stdout: string; stderr: string }
  readonly ended: Promise<Ended>
}

/**
 * The package as it is installed, made from the present sources in a folder of its own, so that no test sees an older build.
 * Commands run there as a user's would: in a process of their own, in `work`.
 */
export class Program implements AsyncDisposable {
  readonly folder: string
  readonly #children = new Set<ChildProcess>()
  /** An empty folder: where the commands run, and the place for what they make. */
  readonly work: string

  private constructor(folder: string) {
    this.folder = folder
    this.work = join(folder, 'work')
  }

  static async build(): Promise<Program> {
    const program = new Program(await mkdtemp(join(tmpdir(), 'repa-end-to-end-')))
    try {
      const dist = join(program.folder, 'dist')
      await transpile(join(root, 'src'), dist)
      for (const bundle of ['bundle-zod.mjs', 'bundle-library.mjs'])
        execFileSync(process.execPath, [join(root, 'scripts', bundle), dist])
      await cp(join(root, 'package.json'), join(program.folder, 'package.json'))
      for (const name of ['node_modules', 'build']) await symlink(join(root, name), join(program.folder, name))
      await mkdir(program.work)
      return program
    } catch (error) {
      await program[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Starts `repa WORDS`. */
  start(words: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
    return this.#spawn([join(this.folder, 'dist/cli/main.js'), ...words], env)
  }

  /** Runs `repa WORDS` to its end. */
  repa(...words: string[]): Promise<Ended> {
    return this.start(words).ended
  }

  /** Starts `node WORDS`. */
  node(...words: string[]): Running {
    return this.#spawn(words, {})
  }

  /** Runs the text of a module that imports from `./dist/`. */
  async script(text: string, env: Readonly<Record<string, string>> = {}): Promise<Ended> {
    const file = join(this.folder, 'script.mjs')
    await writeFile(file, text)
    return this.#spawn([file], env).ended
  }

  #spawn(words: readonly string[], env: Readonly<Record<string, string>>): Running {
    const child = spawn(process.execPath, words, { cwd: this.work, env: { ...process.env, ...env } })
    this.#children.add(child)
    const seen = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen.stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      seen.stderr += text
    })
    const ended = once(child, 'close').then(([status, signal]): Ended => {
      this.#children.delete(child)
      return { status, signal, ...seen }
    })
    return { child, seen, ended }
  }

  /** Kills what a failed test has left running, and removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = [...this.#children].map((child) => once(child, 'close'))
    for (const child of this.#children) child.kill('SIGKILL')
    await Promise.all(closed)
    await rm(this.folder, { recursive: true, force: true })
  }
}

async function transpile(source: string, target: string): Promise<void> {
  for (const name of await readdir(source, { recursive: true })) {
    if (!name.endsWith('.ts')) continue
    const path = join(source, name)
    const text = await readFile(path, 'utf8')
    const file = join(target, name.replace(/\.ts$/, '.js'))
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, await javascriptOf(path, text, { rewriteRelativeImportExtensions: true }))
  }
}

/** Waits for a condition of what a command has written; throws where the command ends before. */
export async function until(running: Running, condition: (seen: Running['seen']) => boolean): Promise<void> {
  while (!condition(running.seen)) {
    if (running.child.exitCode !== null || running.child.signalCode !== null) {
      throw new Error(`The command ended early: ${running.seen.stderr}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
