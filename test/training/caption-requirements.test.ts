/** What training on captions asks of the model, the data, the encoder and the other settings. */
import { describe, expect, test } from 'vitest'
import type { Dataset } from '../../src/data/dataset.ts'
import { SiT } from '../../src/models/sit.ts'
import {
  attentionOf,
  requireCaptions,
  requireClassToken,
  requireFittingData,
  requireRoute,
} from '../../src/training/requirements.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { classTokenEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'

const SIZES = { depth: 2, hidden: 16, heads: 2, patch: 2 } as const
const TEXT = { tokens: 5, width: 20 } as const
const modelOf = (kind: 'text' | 'classes') =>
  SiT.create(SIZES, { inputSize: [6, 6], ...(kind === 'text' ? { classes: 0, text: TEXT } : { classes: 3 }) })

/** Of a data set what these requirements look at. */
const DATA = { path: 'data/coco', latentShape: [4, 6, 6], latentKind: 'latents', length: 8, classes: 1 }
const WITH_CAPTIONS = { ...DATA, captions: Array.from({ length: 8 }, () => ['a bus']) } as unknown as Dataset
const WITHOUT = { ...DATA, captions: undefined } as unknown as Dataset

interface Case {
  readonly name: string
  readonly model?: 'classes'
  readonly data?: Dataset
  /** Of the encoder; null: there is none. */
  readonly sizes?: { readonly tokens: number; readonly width: number } | null
}

function check({ model: kind, data = WITH_CAPTIONS, sizes = TEXT }: Case): void {
  using model = modelOf(kind ?? 'text')
  using encoder = sizes ? new TableCaptionEncoder(sizes) : undefined
  requireCaptions(model, data, encoder ? { captionEncoder: encoder } : {})
}

const align = { encoder: constantEncoder, depth: 1, weight: 0.5 }

test.each<Case>([
  { name: 'a model of text, captions, and what encodes them' },
  { name: 'a model of classes, of data that have captions too', model: 'classes', sizes: null },
  { name: 'a model of classes, of data that have none', model: 'classes', data: WITHOUT, sizes: null },
])('goes together: $name', (one) => {
  expect(() => check(one)).not.toThrow()
})

const REFUSED: readonly (Case & { readonly message: string })[] = [
  {
    name: 'an encoder for a model of classes',
    model: 'classes',
    message: 'A caption encoder is for a model of text, and this model is of classes; leave it out, or train an MMDiT.',
  },
  {
    name: 'no encoder',
    sizes: null,
    message:
      "The model is told captions, and nothing encodes them; give it a caption encoder, CLIP's text encoder, by `captionEncoder`.",
  },
  {
    name: 'no captions',
    data: WITHOUT,
    message: 'The data in data/coco have no captions, which the model is told; prepare them with `captions`.',
  },
  {
    name: 'another number of states',
    sizes: { tokens: 6, width: 20 },
    message:
      'The caption encoder table makes 6 hidden states of 20, and the model reads 5 of 20; give the model its sizes by `text`.',
  },
  {
    name: 'states of another width',
    sizes: { tokens: 5, width: 12 },
    message:
      'The caption encoder table makes 5 hidden states of 12, and the model reads 5 of 20; give the model its sizes by `text`.',
  },
]
test.each(REFUSED)('is refused: $name', ({ message, ...one }) => {
  expect(() => check(one)).toThrow(new RangeError(message))
})

describe('of other requirements', () => {
  test('a route is not for a model of text', () => {
    using model = modelOf('text')
    expect(() => requireRoute(model, { route: { from: 2, to: 2, share: 0.5 } })).toThrow(
      'Blocks of text and image see all tokens of both; leave out the route, or train a model of classes.',
    )
  })

  test("a model of text's attention is not compared", () => {
    using model = modelOf('text')
    expect(() => attentionOf({ model, align: { ...align, attention: { weight: 1 } } })).toThrow(
      "The model's attention cannot be compared with an encoder's (HASTE): it is over text and image at once; leave one out, or train a model of classes.",
    )
  })

  test('a class token is not for a model of text', () => {
    using model = modelOf('text')
    const options = { align: { ...align, encoder: classTokenEncoder }, classToken: { weight: 1 } }
    expect(() => requireClassToken(model, options as TrainerOptions)).toThrow(
      'A class token cannot be denoised along (REG): the model is of text, whose blocks have no place for it; train a model of classes.',
    )
  })

  test('how many classes the data have is nothing to a model of text', () => {
    using text = modelOf('text')
    using classes = modelOf('classes')
    expect(() => requireFittingData(text, { ...WITH_CAPTIONS, classes: 10 } as Dataset, 4)).not.toThrow()
    expect(() => requireFittingData(classes, { ...WITH_CAPTIONS, classes: 10 } as Dataset, 4)).toThrow(
      'The data in data/coco have 10 classes, the model 3; give the model as many.',
    )
  })
})
