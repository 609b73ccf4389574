import { describe, expect, test } from 'vitest'
import { type FormulaTable, generate } from '../../src/verification/formula.ts'

/** formula-v1 to the letter of its definition, with exact integers. */
function reference(name: string, seed: number, index: number, scale: number, offset: number): number {
  const MASK = 0xffffffffn
  let h = 0x811c9dc5n
  for (const byte of Buffer.from(`${name}#${seed}`, 'utf8')) h = ((h ^ BigInt(byte)) * 0x01000193n) & MASK
  let x = (BigInt(index) * 0x9e3779b1n + h) & MASK
  x ^= x >> 16n
  x = (x * 0x85ebca6bn) & MASK
  x ^= x >> 13n
  x = (x * 0xc2b2ae35n) & MASK
  x ^= x >> 16n
  return Math.fround((Number(x >> 8n) / 8388608 - 1) * scale + offset)
}

describe('formula-v1', () => {
  test.each([
    ['blocks.0.attn.qkv.weight', 301, [48, 16], 0.0883, 0],
    ['größe', 0, [1000], 2.5, -0.25],
    ['norm.weight', 4_000_000_000, [7], 0.25, 1],
  ])('%s#%d', (name, seed, shape, scale, offset) => {
    const table: FormulaTable = {
      formula: { name: 'formula-v1' },
      seed,
      tensors: [{ name, shape, scale, offset }],
      test_vectors: [],
    }
    const values = generate(table, name)
    expect([...values]).toEqual(Array.from(values, (_, i) => reference(name, seed, i, scale, offset)))
  })
})
