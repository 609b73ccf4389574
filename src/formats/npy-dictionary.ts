/** What the header of a `.npy` file says about its array. */
export interface NpyDictionary {
  readonly descr: string
  readonly fortranOrder: boolean
  readonly shape: readonly number[]
}

/**
 * Python's tokens that may stand in the header: text without escapes, whole numbers (with Python 2's L), True, False and
 * brackets.
 */
const TOKEN = /\s*(?:'([^'\\]*)'|"([^"\\]*)"|(\d{1,20})L?|(True|False)|([{}()[\]:,]))/y

/**
 * Reads the Python dictionary literal in the header of a `.npy` file: exactly the keys `descr` (text), `fortran_order`
 * and `shape` (a tuple of whole numbers), in any order.
 *
 * @throws RangeError that reads on after the array's name.
 */
export function parseNpyDictionary(text: string): NpyDictionary {
  const tokens = tokenise(text)
  let at = 0
  const accept = (punctuation: string): boolean => {
    if (tokens[at]?.punctuation !== punctuation) return false
    at++
    return true
  }
  const expect = (punctuation: string): void => {
    if (!accept(punctuation)) throw damaged(text)
  }

  const shapeTuple = (): number[] => {
    const shape: number[] = []
    expect('(')
    while (!accept(')')) {
      const size = tokens[at++]?.number
      if (size === undefined) throw damaged(text)
      shape.push(size)
      // (3) is a number in Python; a tuple of one has its comma.
      if (!accept(',') && (shape.length === 1 || tokens[at]?.punctuation !== ')')) throw damaged(text)
    }
    return shape
  }

  const found: { descr?: string; fortranOrder?: boolean; shape?: number[] } = {}
  expect('{')
  while (!accept('}')) {
    const key = tokens[at++]?.text
    expect(':')
    if (key === 'descr' && found.descr === undefined) {
      if (tokens[at]?.punctuation === '[') throw new RangeError('is a structured array; save its fields one by one.')
      found.descr = tokens[at++]?.text
    } else if (key === 'fortran_order' && found.fortranOrder === undefined) {
      found.fortranOrder = tokens[at++]?.boolean
    } else if (key === 'shape' && found.shape === undefined) {
      found.shape = shapeTuple()
    } else {
      throw damaged(text)
    }
    if (!accept(',') && tokens[at]?.punctuation !== '}') throw damaged(text)
  }
  const { descr, fortranOrder, shape } = found
  if (at !== tokens.length || descr === undefined || fortranOrder === undefined || shape === undefined) {
    throw damaged(text)
  }
  return { descr, fortranOrder, shape }
}

interface Token {
  readonly text?: string
  readonly number?: number
  readonly boolean?: boolean
  readonly punctuation?: string
}

function tokenise(text: string): Token[] {
  const tokens: Token[] = []
  const end = text.trimEnd().length
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < end) {
    const match = TOKEN.exec(text)
    if (match === null) throw damaged(text)
    const [, single, double, digits, boolean, punctuation] = match
    if (digits !== undefined) tokens.push({ number: Number(digits) })
    else if (boolean !== undefined) tokens.push({ boolean: boolean === 'True' })
    else if (punctuation !== undefined) tokens.push({ punctuation })
    else tokens.push({ text: single ?? double ?? '' })
  }
  return tokens
}

function damaged(text: string): RangeError {
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text.trimEnd()
  return new RangeError(
    `has the header ${JSON.stringify(shown)}, which is not a dictionary of descr, fortran_order and shape.`,
  )
}
