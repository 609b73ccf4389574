/** Weights that no file holds: each number follows from its tensor's name, its index and a seed (formula-v1 of the manifest). */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { elementCount } from '../tensor/dtype.ts'
import { fnv1a } from '../tensor/fnv1a.ts'
import { hostFloat32 } from '../tensor/host-tensor.ts'
import type { GoldenSet } from './golden-set.ts'

const tableSchema = z.object({
  formula: z.object({ name: z.literal('formula-v1') }),
  seed: z.int().nonnegative(),
  tensors: z.array(
    z.object({
      name: z.string(),
      shape: z.array(z.int().nonnegative()),
      scale: z.number(),
      offset: z.number(),
    }),
  ),
  test_vectors: z.array(z.object({ name: z.string(), first8: z.array(z.number()), last: z.number() })).default([]),
})

export type FormulaTable = z.output<typeof tableSchema>

/** @throws {Error} where the table is damaged, or this generator disagrees with its test vectors. */
export async function readFormulaTable(set: GoldenSet, path: string): Promise<FormulaTable> {
  await using file = set.file(path)
  const json: unknown = JSON.parse(Buffer.from(await file.bytes()).toString('utf8'))
  const table = parseConfiguration(tableSchema, json, file.absolutePath)
  for (const { name, first8, last } of table.test_vectors) {
    const values = generate(table, name)
    const first = values.subarray(0, first8.length)
    if (first8.some((value, i) => value !== first[i]) || values.at(-1) !== last) {
      throw new Error(
        `${file.absolutePath}: formula-v1 gives ${name} = [${first}, …, ${values.at(-1)}]; the table's test vector is [${first8}, …, ${last}].`,
      )
    }
  }
  return table
}

/** The table's tensors as a state dict, each generated when it is read. `fixed`: tensors that are not in the table. */
export function formulaSource(
  table: FormulaTable,
  name: string,
  fixed: Readonly<Record<string, { readonly shape: readonly number[]; values: () => Float32Array }>> = {},
): StateSource {
  const shapes = new Map(table.tensors.map((tensor) => [tensor.name, tensor.shape]))
  const isFixed = (tensor: string) => !shapes.has(tensor) && Object.hasOwn(fixed, tensor)
  return {
    name,
    names: [...new Set([...Object.keys(fixed), ...shapes.keys()])],
    shapeOf: (tensor) => (isFixed(tensor) ? fixed[tensor]!.shape : shapes.get(tensor)!),
    read: async (tensor) =>
      isFixed(tensor)
        ? hostFloat32(fixed[tensor]!.values(), fixed[tensor]!.shape)
        : hostFloat32(generate(table, tensor), shapes.get(tensor)!),
  }
}

/** One tensor's numbers, row-major. */
export function generate(table: FormulaTable, name: string): Float32Array {
  const tensor = table.tensors.find((candidate) => candidate.name === name)
  if (!tensor) throw new Error(`The formula table has no tensor ${name}.`)
  const { scale, offset } = tensor
  const values = new Float32Array(elementCount(tensor.shape))
  let counter = fnv1a(`${name}#${table.seed}`) | 0
  for (let i = 0; i < values.length; i++) {
    let x = counter
    counter = (counter + 0x9e3779b1) | 0
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
    x ^= x >>> 16
    // 2^-23: the upper 24 bits as a number in [−1, 1), exact in a double.
    values[i] = ((x >>> 8) * 1.1920928955078125e-7 - 1) * scale + offset
  }
  return values
}
