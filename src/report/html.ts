/** Markup that is safe to put into a page as it is. Made by `html` (which escapes) or, deliberately, by `trusted`. */
export interface Html {
  readonly markup: string
}

type Interpolated = Html | string | number | undefined | readonly Interpolated[]

/**
 * A piece of HTML. Strings and numbers between `${}` are escaped for text and for quoted attributes; `Html` goes in
 * as it is; arrays are joined; undefined leaves nothing.
 */
export function html(literals: TemplateStringsArray, ...values: readonly Interpolated[]): Html {
  let markup = literals[0]!
  for (let i = 0; i < values.length; i++) markup += render(values[i]) + literals[i + 1]!
  return { markup }
}

/** Markup that this package made itself and that holds nothing from outside. */
export function trusted(markup: string): Html {
  return { markup }
}

/** A JSON data block's text: no `<`, so that nothing in it can end the block or open a comment. */
export function jsonForHtml(value: unknown): Html {
  return { markup: JSON.stringify(value).replaceAll('<', '\\u003c') }
}

function render(value: Interpolated): string {
  if (value === undefined) return ''
  if (typeof value === 'string') return escapeHtml(value)
  if (typeof value === 'number') return String(value)
  if ('markup' in value) return value.markup
  return value.map(render).join('')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text as it may stand between tags or inside a quoted attribute. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}
