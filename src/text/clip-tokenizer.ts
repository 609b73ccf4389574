import { readFile } from 'node:fs/promises'
import type { Tokenizer } from '@huggingface/tokenizers'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { FileAccessError } from '../formats/errors.ts'

const START_OF_TEXT = '<|startoftext|>'
const END_OF_TEXT = '<|endoftext|>'

/** Tokens of a caption, of every CLIP that is published. */
const CONTEXT_LENGTH = 77

const id = z.int().nonnegative()
const stage = z.looseObject({ type: z.string() })

/** What is looked at of the Transformers library's tokenizer.json, which says more of each stage; the tokenizer reads that by itself. */
const fileSchema = z.object({
  added_tokens: z.array(z.object({ id, content: z.string() })),
  /** Captions are in lower case, their whitespace single blanks. */
  normalizer: stage,
  /** Words, numbers and punctuation apart, each as the bytes of its UTF-8. */
  pre_tokenizer: stage,
  padding: z.object({ pad_id: id }).nullish(),
  model: z.object({
    /** Older versions do not write it. */
    type: z.literal('BPE').optional(),
    end_of_word_suffix: z.literal('</w>'),
    unk_token: z.string().nullish(),
    vocab: z.record(z.string(), id),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
})

/** The tokens that begin a text and that end one. */
interface EndsOfText {
  readonly start: number
  readonly end: number
}

/**
 * CLIP's tokenizer (arXiv 2103.00020, section 2.4): a caption's byte pairs between the token that starts a text and that which ends one,
 * as the Transformers library's CLIPTokenizer gives them with `padding="max_length"`, `truncation=True`. It reads that library's
 * tokenizer.json. As there, a special token's text in a caption is that token. Captions are not mended (ftfy) first. A capital sigma that ends
 * a word becomes ς, as in OpenAI's own tokenizer; that library's makes it σ since its version 5, and where it was called fast before.
 */
export class ClipTokenizer {
  /** Tokens of every caption, padding included. */
  readonly length: number
  /** Rows that an embedding of its ids must have. */
  readonly vocabulary: number
  readonly #ends: EndsOfText
  readonly #tokenizer: Tokenizer

  private constructor(
    tokenizer: Tokenizer,
    { length, vocabulary, ends }: Pick<ClipTokenizer, 'length' | 'vocabulary'> & { readonly ends: EndsOfText },
  ) {
    this.#tokenizer = tokenizer
    this.length = length
    this.vocabulary = vocabulary
    this.#ends = ends
  }

  /**
   * Reads a tokenizer.json.
   *
   * @throws {FileAccessError} where it cannot be read; {Error} where it is no tokenizer of CLIP
   */
  static async open(file: string, { length = CONTEXT_LENGTH }: { length?: number } = {}): Promise<ClipTokenizer> {
    if (!Number.isInteger(length) || length < 2) {
      throw new RangeError(`ClipTokenizer: a caption's length is ${length}; expected a whole number from 2.`)
    }
    const json = parseJson(await textOf(file), file)
    const { added_tokens: added, padding, model } = parseConfiguration(fileSchema, json, file)
    const ids = new Map([...Object.entries(model.vocab), ...added.map(({ content, id }) => [content, id] as const)])
    const special = (token: string): number => {
      const found = ids.get(token)
      if (found !== undefined) return found
      throw new Error(
        `${file} is no tokenizer of CLIP: it has no token ${token}. Take the tokenizer.json that lies beside the weights.`,
      )
    }
    const ends = { start: special(START_OF_TEXT), end: special(END_OF_TEXT) }
    // What no token is found for becomes this one.
    if (model.unk_token != null) special(model.unk_token)
    const vocabulary = 1 + [...ids.values()].reduce((largest, id) => Math.max(largest, id))
    if (padding && padding.pad_id !== ends.end) {
      throw new Error(
        `${file} pads captions with the token ${padding.pad_id}; expected ${END_OF_TEXT}, ${ends.end}, as OpenAI's CLIP has it in the ` +
          'Transformers library.',
      )
    }
    const { Tokenizer } = await import('@huggingface/tokenizers')
    try {
      // Of what stands around a caption and of the way back to text nothing is used here, and a file need not say it.
      return new ClipTokenizer(new Tokenizer({ post_processor: null, decoder: null, ...(json as object) }, {}), {
        length,
        vocabulary,
        ends,
      })
    } catch (cause) {
      throw new Error(`${file} cannot be used as a tokenizer: ${(cause as Error).message}`, { cause })
    }
  }

  /**
   * The ids of a caption, exactly `length` of them: the start, its tokens, the end, and the end again up to the length. A longer caption is
   * cut, and its end is the last token.
   */
  encode(caption: string): Int32Array {
    const ids = new Int32Array(this.length).fill(this.#ends.end)
    ids[0] = this.#ends.start
    const tokens = this.#tokenizer.encode(caption, { add_special_tokens: false }).ids
    ids.set(tokens.slice(0, this.length - 2), 1)
    return ids
  }
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new FileAccessError('read', file, error)
  }
}
