/** A tokenizer.json of CLIP's form, as the Transformers library has it, with the alphabet of CLIP and few merges. */

/** What CLIP's byte-level alphabet writes a byte as: itself where it is a printable character of Latin-1, else one from 256 on. */
const PRINTABLE = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
].flatMap(([first, last]) => Array.from({ length: last! - first! + 1 }, (_, i) => first! + i))
const ALPHABET = [...PRINTABLE, ...Array.from({ length: 256 - PRINTABLE.length }, (_, i) => 256 + i)].map((code) =>
  String.fromCharCode(code),
)

/** In their order: what stands first is merged first. */
export const MERGES = [
  'a t</w>',
  'i n',
  't h',
  'p h',
  'o f</w>',
  'c a',
  'o t',
  'c at</w>',
  'ca t',
  'in g</w>',
  'th e</w>',
  'ph ot',
  'phot o</w>',
  'cat s</w>',
  "' s</w>",
  "' t</w>",
  'Ã ©',
  '1 0</w>',
] as const

export const TOKENS: readonly string[] = [
  ...ALPHABET,
  ...ALPHABET.map((letter) => `${letter}</w>`),
  ...MERGES.map((merge) => merge.replace(' ', '')),
  '<|startoftext|>',
  '<|endoftext|>',
]

export const START = TOKENS.indexOf('<|startoftext|>')
export const END = TOKENS.indexOf('<|endoftext|>')

const special = (id: number) => ({
  id,
  content: TOKENS[id],
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: true,
})

export const tokenizerJson = () => ({
  version: '1.0',
  truncation: null,
  padding: null as unknown,
  added_tokens: [special(START), special(END)],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'NFC' },
      { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
      { type: 'Lowercase' },
    ],
  } as unknown,
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      {
        type: 'Split',
        pattern: {
          Regex: "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
        },
        behavior: 'Removed',
        invert: true,
      },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
    ],
  },
  post_processor: {
    type: 'RobertaProcessing',
    sep: [TOKENS[END], END],
    cls: [TOKENS[START], START],
    trim_offsets: false,
    add_prefix_space: false,
  } as unknown,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true } as unknown,
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: '<|endoftext|>',
    continuing_subword_prefix: '',
    end_of_word_suffix: '</w>',
    fuse_unk: false,
    vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
    merges: [...MERGES] as readonly (string | readonly string[])[],
  },
})
