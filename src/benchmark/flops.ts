import { CONVOLUTION_CELLS } from '../models/conv-projector.ts'
import { isInside, keptTokens, type TokenRouting } from '../models/token-route.ts'
import {
  type DdtHeadSettings,
  ffnWidth,
  type TextSettings,
  type TransformerConfig,
  tokenGrid,
} from '../models/transformer-config.ts'
import { outputChannels } from '../models/transformer-network.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'

/** Width of the sinusoidal time features. */
const FREQUENCIES = 256

/**
 * Floating-point operations of one training step for one image: the matrix products and attention, a multiply-add being two;
 * nothing element by element, no recomputation. A product that has both an input and a weight gradient costs three times
 * its forward pass (the two gradients are a product each); a first layer, whose input wants no gradient, twice. The two
 * products of attention have two gradients each. As DiT counts (arXiv 2212.09748), whose "118.64 GFLOPs" for the forward
 * pass of XL/2 are multiply-adds, half of this count.
 * Blocks that a `route` goes past, and projectors inside of it, count for the kept tokens alone.
 */
export function trainingFlops(config: TransformerConfig, route?: TokenRouting): number {
  const { first, inner, projectors } = forwardMultiplyAdds(config, route)
  return 2 * (3 * (inner + projectors) + 2 * first)
}

/** Floating-point operations of the forward pass for one image, without projectors, counted in the same way. */
export function forwardFlops(config: TransformerConfig): number {
  const { first, inner } = forwardMultiplyAdds(config)
  return 2 * (first + inner)
}

/** Multiply-adds of the forward pass for one image: of the first layers, of what lies behind them, of the projectors. */
interface MultiplyAdds {
  readonly first: number
  readonly inner: number
  readonly projectors: number
}

function forwardMultiplyAdds(config: TransformerConfig, route?: TokenRouting): MultiplyAdds {
  return config.text ? jointMultiplyAdds(config, config.text) : adaLNMultiplyAdds(config, route)
}

function adaLNMultiplyAdds(config: TransformerConfig, route?: TokenRouting): MultiplyAdds {
  const { depth, hidden, patch, channels, alignDepth, alignWidths, classTokenWidth, ddtHead } = config
  const [rows, columns] = tokenGrid(config)
  const patches = rows * columns
  const tokens = patches + (classTokenWidth === undefined ? 0 : 1)
  const pixels = patch * patch
  const kept = route ? keptTokens(patches, route.share) : tokens
  const routed = route ? route.to - route.from + 1 : 0
  const blocks = (depth - routed) * blockMultiplyAdds(config, tokens) + routed * blockMultiplyAdds(config, kept)
  const aligned = isInside(route, alignDepth) ? kept : tokens
  const modulation = hidden * (6 * depth + (ddtHead ? 0 : 2)) * hidden
  const projectors = alignWidths.reduce((sum, width) => sum + aligned * projectorMultiplyAdds(config, width), 0)
  if (ddtHead) {
    const head = ddtHeadMultiplyAdds(config, ddtHead, patches)
    // RAE's time is the sines and the cosines of its frequencies.
    const first = patches * pixels * channels * hidden + 2 * FREQUENCIES * hidden + head.first
    return { first, inner: blocks + modulation + hidden * hidden + head.inner, projectors }
  }
  // The class token's way in, and as much on its way out.
  const classTokenEnd = (classTokenWidth ?? 0) * hidden
  // The last layer makes the class token's row as well.
  const head = tokens * hidden * pixels * outputChannels(config) + classTokenEnd
  const inner = blocks + modulation + hidden * hidden + head
  const first = patches * pixels * channels * hidden + FREQUENCIES * hidden + classTokenEnd
  return { first, inner, projectors }
}

/** Of one adaLN block for one image. */
function blockMultiplyAdds(config: Pick<TransformerConfig, 'hidden' | 'mlpRatio' | 'ffn'>, tokens: number): number {
  const { hidden, ffn } = config
  // SwiGLU's first layer has two of its widths.
  const ffnProducts = (ffn === 'swiglu' ? 3 : 2) * ffnWidth(config)
  return tokens * hidden * (3 * hidden + hidden + ffnProducts) + 2 * tokens * tokens * hidden
}

/** Of a DDT head, in which every token has a modulation of its own. */
function ddtHeadMultiplyAdds(
  config: TransformerConfig,
  { depth, hidden }: DdtHeadSettings,
  patches: number,
): Pick<MultiplyAdds, 'first' | 'inner'> {
  const { patch, channels } = config
  const patchValues = patch * patch * channels
  const blocks = depth * blockMultiplyAdds({ ...config, hidden }, patches)
  const fromTrunk = hidden === config.hidden ? 0 : config.hidden * hidden
  const perToken = fromTrunk + hidden * (6 * depth + 2) * hidden + hidden * patchValues
  return { first: patches * patchValues * hidden, inner: blocks + patches * perToken }
}

/** Of a model of text, whose blocks no route goes past, and of whose last block the text's stream ends at its attention. */
function jointMultiplyAdds(config: TransformerConfig, text: TextSettings): MultiplyAdds {
  const { depth, hidden, patch, channels, alignWidths } = config
  const [rows, columns] = tokenGrid(config)
  const patches = rows * columns
  const pixels = patch * patch
  const behindAttention = hidden * (hidden + 2 * ffnWidth(config))
  const stream = hidden * 3 * hidden + behindAttention
  const attention = 2 * (text.tokens + patches) ** 2 * hidden
  const blocks = depth * ((text.tokens + patches) * stream + attention) - text.tokens * behindAttention
  const modulation = hidden * (12 * depth - 2) * hidden
  const head = patches * hidden * pixels * outputChannels(config)
  const projectors = alignWidths.reduce((sum, width) => sum + patches * projectorMultiplyAdds(config, width), 0)
  const first = patches * pixels * channels * hidden + FREQUENCIES * hidden + text.tokens * text.width * hidden
  return { first, inner: blocks + modulation + hidden * hidden + head, projectors }
}

/** Of one token to features of this width. */
function projectorMultiplyAdds({ hidden, projector, projectorWidth }: TransformerConfig, width: number): number {
  if (projector === 'conv') return CONVOLUTION_CELLS * hidden * width
  return hidden * projectorWidth + projectorWidth ** 2 + projectorWidth * width
}

/** Floating-point operations of a frozen encoder's forward pass for one image of so many patches, counted in the same way. */
export function encoderFlops(config: VisionTransformerConfig, patches: number): number {
  const { hidden, depth, patch, channels, ffn, ffnWidth, registers } = config
  const tokens = 1 + registers + patches
  const products = 4 * hidden * hidden + (ffn === 'swiglu' ? 3 : 2) * hidden * ffnWidth
  const block = tokens * products + 2 * tokens * tokens * hidden
  return 2 * (patches * patch * patch * channels * hidden + depth * block)
}
