import { SIT_PRESETS } from './presets.ts'
import { parseSiTConfig, type SiTConfig } from './sit.ts'

/**
 * The configuration of the SiT that a state dict belongs to, from its names and shapes alone. The number of heads, which no
 * shape tells, is the preset's of that depth and width, else one per 64 features unless `heads` says otherwise; the input is
 * taken to be square.
 *
 * @throws {Error} naming what is missing where the tensors are no SiT's
 */
export function inferSiTConfig(
  shapes: ReadonlyMap<string, readonly number[]>,
  what: string,
  heads?: number,
): SiTConfig {
  const shape = (name: string): readonly number[] => {
    const found = shapes.get(name)
    if (!found) throw new Error(`${what} is not the state dict of a SiT: it has no tensor ${name}.`)
    return found
  }
  const count = (pattern: RegExp) =>
    new Set([...shapes.keys()].map((name) => pattern.exec(name)?.[1]).filter((index) => index !== undefined)).size
  const [, tokens] = shape('pos_embed')
  const [hidden, channels, patch] = shape('x_embedder.proj.weight')
  const [labels] = shape('y_embedder.embedding_table.weight')
  const [mlpWidth] = shape('blocks.0.mlp.fc1.weight')
  const depth = count(/^blocks\.(\d+)\./)
  const encoders = count(/^projectors\.(\d+)\./)
  const side = Math.sqrt(tokens!) * patch!
  const preset = Object.values(SIT_PRESETS).find((size) => size.depth === depth && size.hidden === hidden)
  return parseSiTConfig(
    {
      kind: 'SiT',
      depth,
      hidden: hidden!,
      heads: heads ?? preset?.heads ?? Math.max(1, Math.round(hidden! / 64)),
      patch: patch!,
      inputSize: [side, side],
      channels: channels!,
      classes: labels! - 1,
      mlpRatio: mlpRatioOf(mlpWidth!, hidden!),
      qkNorm: shapes.has('blocks.0.attn.q_norm.weight'),
      alignDepth: Math.min(8, depth),
      alignWidths: Array.from({ length: encoders }, (_, k) => shape(`projectors.${k}.4.weight`)[0]!),
      projectorWidth: encoders > 0 ? shape('projectors.0.0.weight')[0]! : undefined,
    },
    what,
  )
}

/** A ratio that gives this width back: as in the reference, the width is the product's whole part, and division may round down. */
function mlpRatioOf(width: number, hidden: number): number {
  const ratio = width / hidden
  return Math.trunc(hidden * ratio) === width ? ratio : (width + 0.5) / hidden
}
