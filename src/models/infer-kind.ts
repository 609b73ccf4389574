import { basename } from 'node:path'
import { type HostTensor, toFloat32 } from '../tensor/host-tensor.ts'
import type { TransformerKind } from './transformer-kinds.ts'

/** A state dict, as far as it is looked at to tell its kind. */
export interface KindEvidence {
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readonly read: (name: string) => Promise<HostTensor>
  /** The file's path. */
  readonly path: string
}

/** What was found, and a sentence that says so, with its reason, for people. */
export interface InferredKind {
  readonly kind: TransformerKind
  readonly sentence: string
}

const HEAD = 'final_layer.linear.weight'

/**
 * Which model a state dict with a doubled head (learn_sigma) is of: DiT's and the original SiT's are alike in every name and shape.
 * Undefined where the head is not doubled, or there is none.
 *
 * What differs is that the original SiT throws the second half of its output away: its weights begin as zeros and never have a
 * gradient, while DiT's learn the variance. Projectors on such a head are of DiT + REPA, for REPA's SiT has none.
 */
export async function inferKind({ shapes, read, path }: KindEvidence): Promise<InferredKind | undefined> {
  const [, channels, patch] = shapes.get('x_embedder.proj.weight') ?? []
  const rows = shapes.get(HEAD)?.[0]
  if (channels === undefined || patch === undefined || rows !== 2 * channels * patch * patch) return undefined
  const found = (kind: TransformerKind, reason: string): InferredKind => ({
    kind,
    sentence:
      kind === 'DiT'
        ? `${path} is taken for a DiT: ${reason}. \`kind\` can say that it is an original SiT.`
        : `${path} is taken for an original SiT, whose time runs from noise at 0 to data at 1: ${reason}. ` +
          '`kind` can say that it is a DiT.',
  })
  if ([...shapes.keys()].some((name) => name.startsWith('projectors.'))) return found('DiT', 'it has projectors')
  if (hasUnusedHalf(toFloat32(await read(HEAD)), rows, channels)) {
    return found('SiT', `its last ${channels} output channels were never trained`)
  }
  const name = basename(path).toLowerCase()
  if (/(^|[^a-z])sit/.test(name) && !/(^|[^a-z])dit/.test(name)) return found('SiT', 'its name says so')
  return found('DiT', `its last ${channels} output channels were trained`)
}

/** Whether the head's weights of the second half of the channels are all zero; its rows are (py, px, channel). */
function hasUnusedHalf(head: Float32Array, rows: number, channels: number): boolean {
  const width = head.length / rows
  for (let row = 0; row < rows; row++) {
    if (row % (2 * channels) < channels) continue
    if (head.subarray(row * width, (row + 1) * width).some((value) => value !== 0)) return false
  }
  // A model that was never trained has no weights there at all.
  return head.some((value) => value !== 0)
}
