import * as z from 'zod'

const positive = z.int().positive()

/** How a position table is resampled to another grid: bicubic, as torch.nn.functional.interpolate does it. */
const interpolationSchema = z.strictObject({
  antialias: z.boolean(),
  /**
   * 0: torch is given the grid. Else it is given the scale factor (grid + offset) / side of the table, which moves the sample
   * points too (DINOv2's interpolate_offset).
   */
  offset: z.number().nonnegative(),
})

export type PositionInterpolation = z.output<typeof interpolationSchema>

/** Everything that fixes the parameters and the computation of a vision transformer. What is left out is as in DINOv2. */
export const visionTransformerConfigSchema = z
  .strictObject({
    /** Side of the square images that the position table was learnt on. */
    imageSize: positive.default(518),
    patch: positive.default(14),
    channels: positive.default(3),
    hidden: positive,
    depth: positive,
    heads: positive,
    ffn: z.enum(['mlp', 'swiglu']).default('mlp'),
    /** Of the FFN's hidden layer. Default: DINOv2's, 4·hidden, or two thirds of it rounded up to a multiple of 8 for SwiGLU. */
    ffnWidth: positive.optional(),
    /** Of an MLP. */
    activation: z.enum(['gelu-erf', 'gelu-tanh', 'quick-gelu']).default('gelu-erf'),
    /** Whether a class token, with a position of its own, stands before the patches. */
    classToken: z.boolean().default(true),
    registers: z.int().nonnegative().default(0),
    /** Whether files hold a `mask_token`, which takes part in training only. */
    maskToken: z.boolean().default(true),
    /** Whether the patch embedding has a bias. */
    patchBias: z.boolean().default(true),
    /** Whether a LayerNorm stands before the first block (CLIP's ln_pre). */
    preNorm: z.boolean().default(false),
    /** Whether branches are scaled by a vector (`ls1.gamma`, `ls2.gamma`) before they join the stream. */
    layerScale: z.boolean().default(true),
    /** Whether features are taken behind a last LayerNorm. */
    finalNorm: z.boolean().default(true),
    /**
     * Rotary positions in the table's place, as DINOv3 has them: centres of the patches, from -1 to 1 over the image's height and width,
     * over `periods`, head_dim / 4 of them; by default as torch computes base^(i / (head_dim / 4)) in float32.
     */
    rope: z
      .strictObject({ base: z.number().positive(), periods: z.array(z.number().positive()).readonly().optional() })
      .optional(),
    /** Of the LayerNorms. */
    epsilon: z.number().positive().default(1e-6),
    /** Default: what the published models without, or with, registers have. */
    interpolation: interpolationSchema.optional(),
  })
  .superRefine((config, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if (config.hidden % config.heads !== 0) {
      issue('heads', `${config.heads} heads do not divide the hidden width ${config.hidden}`)
    } else if (config.hidden / config.heads > 128) {
      issue('heads', `gives a head_dim of ${config.hidden / config.heads}; at most 128 is supported`)
    }
    if (config.imageSize % config.patch !== 0) {
      issue('imageSize', `a patch of ${config.patch} does not divide it`)
    }
    if (config.rope) {
      const headDim = config.hidden / config.heads
      const { periods } = config.rope
      if (headDim % 4 !== 0) {
        issue(
          'heads',
          `gives a head_dim of ${headDim}; rotary positions turn two pairs of columns, so that it must be a multiple of 4`,
        )
      } else if (periods && periods.length !== headDim / 4) {
        issue('rope', `has ${periods.length} periods; expected a quarter of the head_dim ${headDim}, ${headDim / 4}`)
      }
    }
    if (config.registers > 0 && !config.classToken) {
      issue('registers', 'stand behind a class token, and there is none')
    }
  })
  .transform((config) => ({
    ...config,
    ffnWidth: config.ffnWidth ?? defaultFfnWidth(config),
    rope: config.rope && { ...config.rope, periods: config.rope.periods ?? rotaryPeriods(config.rope.base, config) },
    interpolation: config.interpolation ?? {
      antialias: config.registers > 0,
      offset: config.registers > 0 ? 0 : 0.1,
    },
  }))

export type VisionTransformerConfig = z.output<typeof visionTransformerConfigSchema>
export type VisionTransformerOptions = z.input<typeof visionTransformerConfigSchema>

function defaultFfnWidth({ ffn, hidden }: { ffn: 'mlp' | 'swiglu'; hidden: number }): number {
  return ffn === 'mlp' ? 4 * hidden : Math.ceil(Math.trunc((4 * hidden * 2) / 3) / 8) * 8
}

function rotaryPeriods(base: number, { hidden, heads }: { hidden: number; heads: number }): readonly number[] {
  const half = hidden / heads / 2
  return Array.from({ length: half / 2 }, (_, i) => Math.fround(base ** Math.fround((2 * i) / half)))
}

/** Tokens that stand before the patches: the class token and the registers. */
export function prefixTokens({ classToken, registers }: VisionTransformerConfig): number {
  return (classToken ? 1 : 0) + registers
}
