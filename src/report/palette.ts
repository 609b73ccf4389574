/**
 * One colour a run, for light and for dark pages. They differ in lightness as well as in hue: to those who see no red or no green, hues of one
 * lightness are the same colour. Thin lines keep a contrast of 3:1 on their page. `test/report/palette.test.ts` holds both.
 */
export const RUN_COLOURS: readonly { readonly light: string; readonly dark: string }[] = [
  { light: '#0067a8', dark: '#5db8f0' },
  { light: '#d05000', dark: '#f58a4b' },
  { light: '#1aa258', dark: '#51ea86' },
  { light: '#681657', dark: '#e0439e' },
  { light: '#4c4720', dark: '#e5dc2e' },
  { light: '#78797c', dark: '#c1c7d2' },
]

/** Dashes tell apart runs whose colour comes round again; what stands for the run elsewhere is cut into as many pieces. */
const DASHES = [
  { line: 'none', cut: 'none' },
  { line: '7 4', cut: 'linear-gradient(90deg, #000 38%, transparent 0 62%, #000 0)' },
  { line: '2 3', cut: 'linear-gradient(90deg, #000 20%, transparent 0 40%, #000 0 60%, transparent 0 80%, #000 0)' },
] as const

/** Style rules that give run `index` its colour (`--run`) and its dashes, as a line and as the mask of a swatch or key. */
export function runRules(count: number, scheme: 'light' | 'dark'): string {
  return Array.from({ length: count }, (_, index) => {
    const colour = RUN_COLOURS[index % RUN_COLOURS.length]![scheme]
    const { line, cut } = DASHES[Math.floor(index / RUN_COLOURS.length) % DASHES.length]!
    return `.run-${index}{--run:${colour};--dash:${line};--cut:${cut}}`
  }).join('')
}
