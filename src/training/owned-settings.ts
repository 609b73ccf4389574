/**
 * Settings of something that a training may be without. Then they would do nothing, and whoever forgot the weight that brings it would
 * train for days without: where one of them is given and is not its default, what it is of must be there.
 */
import { type TrainingConfiguration, type TrainingOptions, trainingSchema } from './configuration.ts'

type Setting = keyof TrainingConfiguration

interface Owner {
  readonly settings: readonly Setting[]
  /** Whether a training has what they are of. */
  readonly isThere: (configuration: TrainingConfiguration) => boolean
  /** Behind a setting and its value: what it is of, and what to do. */
  readonly otherwise: string
  /** A file for several trainings may have them though one of them names no encoder, as a baseline beside an aligned run does. */
  readonly inFiles?: true
}

const hasEncoder = ({ encoders }: TrainingConfiguration) => encoders.length > 0
const isSelfAligned = ({ selfAlignWeight }: TrainingConfiguration) => selfAlignWeight > 0
const NONE_IS_NAMED =
  "and none is named; name one by `encoders: [{ name: 'NAME', file: 'FILE' }]`, or `encoders: [{ name: 'hog' }]`."

const OWNERS: readonly Owner[] = [
  {
    settings: ['alignWeight'],
    isThere: hasEncoder,
    otherwise: `is of the alignment with an encoder, ${NONE_IS_NAMED}`,
    inFiles: true,
  },
  {
    settings: ['alignDepth'],
    // Self-alignment is of the same block, unless it has one of its own.
    isThere: (all) => hasEncoder(all) || (isSelfAligned(all) && all.selfAlignDepth === undefined),
    otherwise: `is the block that is aligned with an encoder, ${NONE_IS_NAMED}`,
    inFiles: true,
  },
  { settings: ['alignLoss'], isThere: hasEncoder, otherwise: `compares with an encoder, ${NONE_IS_NAMED}` },
  {
    settings: ['alignTemperature'],
    isThere: ({ alignLoss }) => alignLoss === 'nt-xent',
    otherwise: 'is of NT-Xent, and the loss is the cosine; give `alignLoss` nt-xent.',
  },
  {
    settings: ['projector'],
    isThere: hasEncoder,
    otherwise: `projects to an encoder's features, ${NONE_IS_NAMED}`,
  },
  {
    settings: ['projectorWidth'],
    isThere: hasEncoder,
    otherwise: `is of what projects to an encoder's features, ${NONE_IS_NAMED}`,
    inFiles: true,
  },
  {
    settings: ['projectorWidth'],
    isThere: ({ projector }) => projector === 'mlp',
    otherwise: 'is of the projector mlp, and the projector is a convolution, which has no hidden width; leave one out.',
  },
  {
    settings: ['alignSpatialNorm'],
    isThere: hasEncoder,
    otherwise: `normalises an encoder's features, ${NONE_IS_NAMED}`,
  },
  {
    settings: ['alignAttentionWeight'],
    isThere: hasEncoder,
    otherwise:
      "compares attention with an encoder's, and none is named; name one by `encoders: [{ name: 'NAME', file: 'FILE' }]`.",
  },
  {
    settings: ['alignAttentionBlocks', 'alignAttentionHeads'],
    isThere: ({ alignAttentionWeight }) => alignAttentionWeight > 0,
    otherwise: 'says what of the attention is compared, and none is; give `alignAttentionWeight`.',
  },
  {
    settings: ['alignUntil'],
    isThere: (all) => hasEncoder(all) || isSelfAligned(all),
    otherwise: 'ends an alignment, and there is none; name an encoder, or give `selfAlignWeight`.',
  },
  {
    settings: ['dispersiveTemperature', 'dispersiveDepth'],
    isThere: ({ dispersiveWeight }) => dispersiveWeight > 0,
    otherwise: 'is of the dispersive loss, and there is none; give `dispersiveWeight`.',
  },
  {
    settings: ['selfAlignDepth', 'selfAlignTeacherDepth', 'selfAlignTimeOffset'],
    isThere: isSelfAligned,
    otherwise: 'is of self-alignment, and there is none; give `selfAlignWeight`.',
  },
  {
    settings: ['routeFrom', 'routeTo'],
    isThere: ({ routeTokens }) => routeTokens > 0,
    otherwise: 'says past which blocks tokens go, and none goes past any; give `routeTokens`.',
  },
]

export const OWNED_SETTINGS: ReadonlySet<Setting> = new Set(OWNERS.flatMap(({ settings }) => settings))

const isDefault = (setting: Setting, value: unknown) => value === trainingSchema.shape[setting].parse(undefined)

/**
 * @param given settings, not necessarily all of them: what is not among them is not asked for, as what a run has had from its beginning
 * @param configuration of the training, with them
 * @param from where they stand
 * @throws {Error} that names the first that is of what the training has not
 */
export function requireOwners(
  given: TrainingOptions,
  configuration: TrainingConfiguration,
  from: 'the call' | 'a file' = 'the call',
): void {
  for (const { settings, isThere, otherwise, inFiles } of OWNERS) {
    if (isThere(configuration) || (inFiles && from === 'a file')) continue
    for (const setting of settings) {
      const value = given[setting]
      if (value === undefined || isDefault(setting, value)) continue
      throw new Error(`${from === 'a file' ? setting : `\`${setting}\``} ${value} ${otherwise}`)
    }
  }
}
