import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { FileAccessError } from '../formats/errors.ts'
import { fileDigest } from '../formats/file-digest.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { Tensor } from '../tensor/tensor.ts'
import { type Comparison, type ComparisonRules, compareTensors } from './comparison.ts'
import type { Manifest, ManifestCase, ManifestFile, ManifestTensor, Tolerance } from './manifest.ts'

/** In what models compute when they are compared with golden vectors. */
export type GoldenPrecision = 'fp32' | 'tf32' | 'bf16'

/** 2⁻¹¹ and 2⁻⁸: what rounding to 10 and to 7 stored bits of significand moves a number by at most, of itself. */
const TF32_OF_BF16 = 2 ** -11 / 2 ** -8

/**
 * How close a tensor must come. tf32 rounds what bf16 does not leave alone either, the operands of products, to an eighth of its error, and
 * the rest of the computation is fp32's: so an eighth of bf16's tolerance beside the whole of fp32's.
 */
function toleranceIn(precision: GoldenPrecision, { tol, tol_bf16: bf16 }: ManifestTensor): Tolerance | undefined {
  if (precision !== 'tf32') return precision === 'bf16' ? bf16 : tol
  return tol && bf16 && { atol: tol.atol + TF32_OF_BF16 * bf16.atol, rtol: tol.rtol + TF32_OF_BF16 * bf16.rtol }
}

/** A golden directory: opens its files by their path in the manifest, each checked once against what the manifest says. */
export class GoldenSet {
  readonly directory: string
  /** In what models compute; each has tolerances of its own. */
  readonly precision: GoldenPrecision
  readonly #places = new Map<string, { readonly file: ManifestFile; readonly goldenCase: ManifestCase }>()
  readonly #intact = new Map<string, Promise<void>>()

  constructor(directory: string, manifest: Manifest, precision: GoldenPrecision = 'fp32') {
    this.directory = directory
    this.precision = precision
    for (const goldenCase of manifest.cases) {
      for (const [path, file] of Object.entries(goldenCase.files)) this.#places.set(path, { file, goldenCase })
    }
  }

  /** Of the models' activations. */
  get dtype(): 'f32' | 'bf16' {
    return this.precision === 'bf16' ? 'bf16' : 'f32'
  }

  /** Every file, in the manifest's order. */
  get paths(): Iterable<string> {
    return this.#places.keys()
  }

  has(path: string): boolean {
    return this.#places.has(path)
  }

  /** @throws {Error} where the manifest does not list the file. */
  file(path: string): GoldenFile {
    const place = this.#places.get(path)
    if (!place) throw new Error(`The manifest of ${this.directory} lists no file ${path}.`)
    return new GoldenFile(this, path, place.file, place.goldenCase)
  }

  /** @throws {Error} where the file is missing, or its length or SHA-256 is not the manifest's. */
  requireIntact(path: string): Promise<void> {
    let check = this.#intact.get(path)
    if (!check) {
      check = this.#check(path)
      this.#intact.set(path, check)
    }
    return check
  }

  async #check(path: string): Promise<void> {
    const { bytes, sha256 } = this.#places.get(path)!.file
    const absolute = join(this.directory, path)
    const { size } = await stat(absolute).catch((error: unknown) => {
      throw new FileAccessError('read', absolute, error)
    })
    if (size !== bytes) throw new Error(`${absolute} is damaged: it has ${size} bytes, the manifest says ${bytes}.`)
    if (sha256 === undefined) return
    const found = await fileDigest(absolute)
    if (found !== sha256) {
      throw new Error(`${absolute} is damaged: its SHA-256 is ${found}, the manifest says ${sha256}.`)
    }
  }
}

/** One file of a golden directory. Its tensors are read when asked for, after the file was found intact. */
export class GoldenFile {
  readonly set: GoldenSet
  /** In the manifest, relative to the directory. */
  readonly path: string
  readonly spec: ManifestFile
  readonly goldenCase: ManifestCase
  #opened: SafetensorsFile | undefined

  constructor(set: GoldenSet, path: string, spec: ManifestFile, goldenCase: ManifestCase) {
    this.set = set
    this.path = path
    this.spec = spec
    this.goldenCase = goldenCase
  }

  get absolutePath(): string {
    return join(this.set.directory, this.path)
  }

  get tensors(): Readonly<Record<string, ManifestTensor>> {
    return this.spec.tensors
  }

  /** The file's args, checked; the error names the file. */
  args<S extends z.ZodType>(schema: S): z.output<S> {
    return parseConfiguration(schema, this.spec.args, `${this.path}, args`)
  }

  /** The other files of the case, and this one, of a kind. */
  siblings(kind: string): string[] {
    return Object.entries(this.goldenCase.files).flatMap(([path, file]) => (file.kind === kind ? [path] : []))
  }

  /** The whole file. */
  async bytes(): Promise<Uint8Array> {
    await this.set.requireIntact(this.path)
    return readFile(this.absolutePath)
  }

  /** The file as safetensors; closed with this object. */
  async safetensors(): Promise<SafetensorsFile> {
    await this.set.requireIntact(this.path)
    this.#opened ??= await SafetensorsFile.open(this.absolutePath)
    return this.#opened
  }

  /** The file as a state dict. */
  async state(): Promise<StateSource> {
    const file = await this.safetensors()
    return {
      name: this.absolutePath,
      names: [...file.tensors.keys()],
      shapeOf: (name) => file.tensors.get(name)!.shape,
      read: (name) => file.read(name),
    }
  }

  /** @throws {Error} where the manifest describes no such tensor, or the file's is of another dtype or shape. */
  async read(name: string): Promise<HostTensor> {
    const spec = this.#describe(name)
    const tensor = await (await this.safetensors()).read(name)
    const said = `${spec.dtype.toLowerCase()} [${spec.shape}]`
    const found = `${tensor.dtype} [${tensor.shape}]`
    if (found !== said) throw new Error(`${this.path}: the tensor ${name} is ${found}, the manifest says ${said}.`)
    return tensor
  }

  /** As `read`, for int64 values that a device takes as int32: labels and indices. */
  async readInt32(name: string): Promise<Int32Array> {
    const { dtype, data } = await this.read(name)
    if (dtype === 'i32') return new Int32Array(data.slice().buffer)
    if (dtype !== 'i64') throw new Error(`${this.path}: the tensor ${name} is ${dtype}; integers were expected.`)
    return Int32Array.from(new BigInt64Array(data.slice().buffer), (value) => {
      if (value !== BigInt.asIntN(32, value)) throw new RangeError(`${this.path}: ${name} holds ${value}.`)
      return Number(value)
    })
  }

  /** Compares what was computed with the stored tensor, by the manifest's tolerance. */
  async compare(name: string, actual: HostTensor | Tensor, rules?: ComparisonRules): Promise<Comparison> {
    const spec = this.#describe(name)
    const host = actual instanceof Tensor ? await actual.toHost() : actual
    const tolerance = toleranceIn(this.set.precision, spec)
    return compareTensors({ name, role: spec.role }, host, await this.read(name), tolerance, rules)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened?.close()
    this.#opened = undefined
  }

  #describe(name: string): ManifestTensor {
    const spec = Object.hasOwn(this.spec.tensors, name) ? this.spec.tensors[name] : undefined
    if (!spec) throw new Error(`${this.path}: the manifest describes no tensor ${name}.`)
    return spec
  }
}
