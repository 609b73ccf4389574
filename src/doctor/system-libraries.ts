import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** A library that a GPU build or a distributed run would use, and where it was found. */
export interface SystemLibrary {
  readonly name: 'cuBLASLt' | 'NCCL' | 'MPI'
  readonly file: string | undefined
}

const LIBRARIES = [
  { name: 'cuBLASLt', pattern: /^libcublasLt\.so(\.\d+)*$/, named: 'REPA_CUBLASLT' },
  { name: 'NCCL', pattern: /^libnccl\.so(\.\d+)*$/, named: 'REPA_NCCL' },
  { name: 'MPI', pattern: /^libmpi\.so(\.\d+)*$/, named: undefined },
] as const

/**
 * Looks where the loader would: in the folders of LD_LIBRARY_PATH, then in its cache. Nothing is loaded. REPA_CUBLASLT
 * and REPA_NCCL name files of their own.
 *
 * @param readCache gives what `ldconfig -p` prints
 */
export async function findSystemLibraries(
  env: Readonly<Record<string, string | undefined>> = process.env,
  readCache: () => Promise<string> = loaderCache,
): Promise<SystemLibrary[]> {
  const files: { name: string; path: string }[] = []
  for (const folder of (env.LD_LIBRARY_PATH ?? '').split(':').filter((path) => path !== '')) {
    // A folder that is not there is passed over by the loader too.
    const names = await readdir(folder).catch((): string[] => [])
    files.push(...names.sort().map((name) => ({ name, path: join(folder, name) })))
  }
  // A line of the cache: `	libmpi.so.40 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libmpi.so.40`
  for (const [, name, path] of (await readCache()).matchAll(/^\s*(\S+) \([^)]*\) => (.+)$/gm)) {
    files.push({ name: name!, path: path! })
  }
  return LIBRARIES.map(({ name, pattern, named }) => ({
    name,
    file: (named && env[named]) || files.find((file) => pattern.test(file.name))?.path,
  }))
}

async function loaderCache(): Promise<string> {
  if (process.platform !== 'linux') return ''
  for (const program of ['ldconfig', '/sbin/ldconfig']) {
    try {
      return (await promisify(execFile)(program, ['-p'], { maxBuffer: 2 ** 24 })).stdout
    } catch {
      // Not on the path of ordinary users on some systems; not there at all on those without a cache (musl).
    }
  }
  return ''
}
