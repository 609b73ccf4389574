import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileAccessError } from '../../src/formats/errors.ts'
import { ClipTokenizer } from '../../src/text/clip-tokenizer.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { END, MERGES, START, TOKENS, tokenizerJson } from './tokenizer-file.ts'

type Json = ReturnType<typeof tokenizerJson>

async function written(json: unknown = tokenizerJson()): Promise<string> {
  const file = join(temporaryFolder(), 'tokenizer.json')
  await writeFile(file, typeof json === 'string' ? json : JSON.stringify(json))
  return file
}

const opened = async (json?: unknown, options?: { length: number }) => ClipTokenizer.open(await written(json), options)

/** The ids between the start and the end. */
function tokensOf(ids: Int32Array): string[] {
  const end = ids.indexOf(END)
  expect(ids[0]).toBe(START)
  expect([...ids.subarray(end)]).toEqual(new Array(ids.length - end).fill(END))
  return [...ids.subarray(1, end)].map((id) => TOKENS[id]!)
}

/** What the Transformers library's tokenizer makes of the same file. */
const CAPTIONS: readonly { what: string; caption: string; tokens: string }[] = [
  { what: 'words, whole or in parts', caption: 'a photo of a cat', tokens: 'a</w> photo</w> of</w> a</w> cat</w>' },
  { what: 'the first merge first', caption: 'cat cats', tokens: 'cat</w> cats</w>' },
  { what: 'an end that is no merge', caption: 'phota cata', tokens: 'phot a</w> cat a</w>' },
  { what: 'no caption', caption: '', tokens: '' },
  { what: 'blanks alone', caption: ' \t\n\u00a0\u3000 ', tokens: '' },
  {
    what: 'whitespace of every kind',
    caption: '  a\r\n\tcat \u2003the\u0085cat ',
    tokens: 'a</w> cat</w> the</w> cat</w>',
  },
  { what: 'capitals', caption: 'A PHOTO of The CAT', tokens: 'a</w> photo</w> of</w> the</w> cat</w>' },
  {
    what: 'what words are shortened to',
    caption: "the cat's don't",
    tokens: "the</w> cat</w> 's</w> d o n</w> 't</w>",
  },
  { what: 'the same in capitals', caption: "THE CAT'S", tokens: "the</w> cat</w> 's</w>" },
  { what: 'digits one by one', caption: '10 cats', tokens: '1</w> 0</w> cats</w>' },
  { what: 'punctuation together', caption: 'a cat!?... the', tokens: 'a</w> cat</w> ! ? . . .</w> the</w>' },
  { what: 'an accent, composed', caption: 'café é', tokens: 'ca f Ã ©</w> Ã ©</w>' },
  { what: 'an accent behind its letter', caption: 'cafe\u0301', tokens: 'ca f Ã ©</w>' },
  { what: 'an accent within a word', caption: 'éa', tokens: 'Ã© a</w>' },
  { what: 'another script', caption: '日本', tokens: 'æ Ĺ ¥ æ ľ ¬</w>' },
  { what: 'beyond the first plane', caption: '😀', tokens: 'ð Ł ĺ Ģ</w>' },
  { what: 'half a surrogate pair', caption: 'a\ud83d', tokens: 'a</w> ï ¿ ½</w>' },
  // Python's lower(), as OpenAI has it. The Transformers library's tokenizer makes σ of both.
  { what: 'a capital sigma, in a word and at its end', caption: 'ΣΑΣ', tokens: 'Ï ĥ Î ± Ï Ĥ</w>' },
  { what: 'a zero', caption: '\u0000', tokens: 'Ā</w>' },
]

describe('ClipTokenizer', () => {
  test.each(CAPTIONS)('$what', async ({ caption, tokens }) => {
    const tokenizer = await opened()
    const ids = tokenizer.encode(caption)
    expect(ids).toHaveLength(77)
    expect(tokensOf(ids)).toEqual(tokens === '' ? [] : tokens.split(' '))
  })

  test('letters have the ids that they have in CLIP', async () => {
    const tokenizer = await opened()
    expect([...tokenizer.encode('a b !').subarray(0, 5)]).toEqual([START, 320, 321, 256, END])
  })

  test('a special token’s text is that token', async () => {
    const tokenizer = await opened()
    const ids = tokenizer.encode('a <|startoftext|>cat <|endoftext|> a')
    expect([...ids.subarray(0, 7)]).toEqual([START, 320, START, TOKENS.indexOf('cat</w>'), END, 320, END])
  })

  const LENGTHS = [
    { length: 77, words: 74 },
    { length: 77, words: 75 },
    { length: 77, words: 76 },
    { length: 77, words: 1000 },
    { length: 5, words: 3 },
    { length: 5, words: 4 },
    { length: 2, words: 1 },
  ]
  test.each(LENGTHS)('of $words tokens in $length: the last one is the end', async ({ length, words }) => {
    const tokenizer = await opened(tokenizerJson(), { length })
    const ids = tokenizer.encode('a '.repeat(words))
    const kept = Math.min(words, length - 2)
    expect([...ids]).toEqual([START, ...new Array(kept).fill(320), ...new Array(length - 1 - kept).fill(END)])
  })

  test('says what it is', async () => {
    const file = await written()
    const { vocabulary, length } = await ClipTokenizer.open(file)
    expect({ vocabulary, length }).toEqual({ vocabulary: 512 + MERGES.length + 2, length: 77 })
  })

  const FORMS: readonly { what: string; change: (json: Json) => unknown }[] = [
    {
      what: 'merges in pairs, as later versions write them',
      change: (json) => ({ ...json, model: { ...json.model, merges: MERGES.map((merge) => merge.split(' ')) } }),
    },
    {
      what: 'no kind of its tokens, as older versions write it',
      change: ({ model: { type: _, ...model }, ...json }) => ({ ...json, model }),
    },
    {
      what: 'padding and truncation stated',
      change: (json) => ({ ...json, truncation: { max_length: 77 }, padding: { pad_id: END, pad_token: TOKENS[END] } }),
    },
    {
      what: 'nothing around a caption, and no way back',
      change: ({ post_processor: _, decoder: __, ...json }) => json,
    },
    {
      what: 'special tokens among the added ones alone',
      change: (json) => {
        const vocab = Object.fromEntries(Object.entries(json.model.vocab).filter(([token]) => !token.startsWith('<|')))
        return { ...json, model: { ...json.model, vocab } }
      },
    },
  ]
  test.each(FORMS)('a file with $what has the same tokens', async ({ change }) => {
    const [plain, other] = [await opened(), await opened(change(tokenizerJson()))]
    expect(other.vocabulary).toBe(plain.vocabulary)
    for (const { caption } of CAPTIONS) expect(other.encode(caption)).toEqual(plain.encode(caption))
  })

  const withModel = (change: Partial<Record<keyof Json['model'], unknown>>) => (json: Json) => ({
    ...json,
    model: { ...json.model, ...change },
  })
  const REFUSED: readonly { what: string; change: (json: Json) => unknown; message: string }[] = [
    { what: 'no JSON', change: () => '{', message: 'tokenizer.json is not JSON' },
    { what: 'no object', change: () => [], message: 'tokenizer.json: the value is []' },
    {
      what: 'another kind of tokens',
      change: withModel({ type: 'WordPiece' }),
      message: 'model.type is "WordPiece": expected "BPE"',
    },
    {
      what: 'words without an end, as GPT-2 has them',
      change: withModel({ end_of_word_suffix: '' }),
      message: 'model.end_of_word_suffix is "": expected "</w>"',
    },
    {
      what: 'no ids',
      change: withModel({ vocab: { a: 'first' } }),
      message: 'model.vocab.a is "first": expected number',
    },
    {
      what: 'brackets without end',
      change: () => '['.repeat(1e5) + ']'.repeat(1e5),
      message: `tokenizer.json: the value is ${'['.repeat(57)}...: expected object.`,
    },
    { what: 'no normalizer', change: (json) => ({ ...json, normalizer: null }), message: 'normalizer is null' },
    {
      what: 'other special tokens',
      change: (json) => ({
        ...json,
        added_tokens: [],
        model: { ...json.model, vocab: { a: 0, '<|endoftext|>': 1 } },
      }),
      message:
        'is no tokenizer of CLIP: it has no token <|startoftext|>. Take the tokenizer.json that lies beside the weights.',
    },
    {
      what: 'an unknown token that is none',
      change: withModel({ unk_token: '[UNK]' }),
      message: 'is no tokenizer of CLIP: it has no token [UNK].',
    },
    {
      what: 'other padding',
      change: (json) => ({ ...json, padding: { pad_id: 0, pad_token: '!' } }),
      message: `pads captions with the token 0; expected <|endoftext|>, ${END}, as OpenAI's CLIP has it in the Transformers library.`,
    },
    {
      what: 'a stage that is unknown',
      change: (json) => ({ ...json, normalizer: { type: 'Shout' } }),
      message: 'cannot be used as a tokenizer: Unknown Normalizer type: Shout',
    },
  ]
  test.each(REFUSED)('$what: a sentence', async ({ change, message }) => {
    await expect(opened(change(tokenizerJson()))).rejects.toThrow(message)
  })

  test('a file that is not there, and a length that leaves no room', async () => {
    await expect(ClipTokenizer.open(join(temporaryFolder(), 'tokenizer.json'))).rejects.toThrow(FileAccessError)
    await expect(opened(tokenizerJson(), { length: 1 })).rejects.toThrow(
      "ClipTokenizer: a caption's length is 1; expected a whole number from 2.",
    )
  })
})
