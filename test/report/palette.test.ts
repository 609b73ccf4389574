import { expect, test } from 'vitest'
import { RUN_COLOURS } from '../../src/report/palette.ts'

type Triple = readonly [number, number, number]

/** What is seen of linear RGB where a kind of cone is missing: Machado, Oliveira and Fernandes (2009), severity 1. */
const VISIONS: Readonly<Record<string, readonly [Triple, Triple, Triple]>> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
}

const PAGES = { light: ['#ffffff', '#f7f7f5'], dark: ['#1b1d20', '#131416'] } as const

/** A difference of 2 is just noticed side by side; that of lines with others between them must be many times that. */
const LEAST_DIFFERENCE = 15

const cases = (['light', 'dark'] as const).flatMap((scheme) =>
  Object.keys(VISIONS).map((vision) => [scheme, vision] as const),
)

test.each(cases)('%s, %s: any two runs can be told apart', (scheme, vision) => {
  const seen = RUN_COLOURS.map((colours) => lab(times(VISIONS[vision]!, linear(colours[scheme]))))
  for (const [i, own] of seen.entries()) {
    for (const [j, other] of seen.entries()) {
      if (i >= j) continue
      const difference = Math.hypot(...own.map((value, c) => value - other[c]!))
      expect(difference, `runs ${i} and ${j}`).toBeGreaterThan(LEAST_DIFFERENCE)
    }
  }
})

test.each(['light', 'dark'] as const)('%s: a thin line stands out from its page', (scheme) => {
  for (const [i, colours] of RUN_COLOURS.entries()) {
    for (const page of PAGES[scheme]) {
      const [low, high] = [luminance(colours[scheme]), luminance(page)].sort((a, b) => a - b)
      expect((high! + 0.05) / (low! + 0.05), `run ${i} on ${page}`).toBeGreaterThan(3)
    }
  }
})

/** sRGB's transfer function undone (IEC 61966-2-1). */
function linear(colour: string): Triple {
  return [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  }) as unknown as Triple
}

function times(matrix: readonly Triple[], [r, g, b]: Triple): Triple {
  return matrix.map((row) => Math.min(1, Math.max(0, row[0] * r + row[1] * g + row[2] * b))) as unknown as Triple
}

function luminance(colour: string): number {
  const [r, g, b] = linear(colour)
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

/** CIELAB of linear sRGB, white D65. */
function lab([r, g, b]: Triple): Triple {
  const [x, y, z] = [
    (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
    0.2126 * r + 0.7152 * g + 0.0722 * b,
    (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
  ].map((value) => (value > 216 / 24389 ? Math.cbrt(value) : (24389 / 27 / 116) * value + 16 / 116)) as [
    number,
    number,
    number,
  ]
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)]
}
