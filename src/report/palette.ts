/**
 * One colour a run, for light and for dark pages. Hues after Okabe and Ito's set, which people with any common colour vision
 * tell apart ("Color Universal Design", 2008), with lightness moved so that thin lines keep a contrast of 3:1 on their page.
 */
const RUN_COLOURS: readonly { readonly light: string; readonly dark: string }[] = [
  { light: '#0067a8', dark: '#5db8f0' },
  { light: '#d05000', dark: '#f58a4b' },
  { light: '#00875f', dark: '#2fc796' },
  { light: '#b0558c', dark: '#e29ac6' },
  { light: '#a87800', dark: '#eabb45' },
  { light: '#5a6472', dark: '#a9b4c2' },
]

/** Dashes tell apart runs whose colour comes round again. */
const DASHES = ['none', '7 4', '2 3']

/** Style rules that give run `index` its colour (`--run`) and its dashes. */
export function runRules(count: number, scheme: 'light' | 'dark'): string {
  return Array.from({ length: count }, (_, index) => {
    const colour = RUN_COLOURS[index % RUN_COLOURS.length]![scheme]
    const dash = DASHES[Math.floor(index / RUN_COLOURS.length) % DASHES.length]
    return `.run-${index}{--run:${colour};--dash:${dash}}`
  }).join('')
}
