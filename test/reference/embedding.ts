import { type NdArray, zeros } from './array.ts'

/** Rows of table [entries, D] by label -> [labels.length, D]. */
export function embedding(labels: readonly number[], table: NdArray): NdArray {
  const width = table.shape[1]
  const out = zeros([labels.length, width])
  for (const [b, label] of labels.entries()) {
    for (let i = 0; i < width; i++) out.data[b * width + i] = table.data[label * width + i]
  }
  return out
}

/** Gradient with regard to the table, [entries, D]: a label that comes twice adds up. */
export function embeddingBackward(dy: NdArray, labels: readonly number[], entries: number): NdArray {
  const width = dy.shape[1]
  const dTable = zeros([entries, width])
  for (const [b, label] of labels.entries()) {
    for (let i = 0; i < width; i++) dTable.data[label * width + i] += dy.data[b * width + i]
  }
  return dTable
}
