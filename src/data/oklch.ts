/** Red, green and blue in sRGB, each from 0 to 1. */
export type Rgb = readonly [red: number, green: number, blue: number]

/**
 * A colour of the OKLCH space (Björn Ottosson, "A perceptual color space for image processing", 2020) in sRGB: lightness 0 to 1,
 * chroma 0 to about 0.3, hue in degrees. Colours outside sRGB lose chroma until they fit.
 */
export function oklch(lightness: number, chroma: number, hue: number): Rgb {
  const angle = (hue * Math.PI) / 180
  for (let c = chroma; ; c = c < 0.005 ? 0 : c * 0.94) {
    const linear = oklabToLinear(lightness, c * Math.cos(angle), c * Math.sin(angle))
    if (c === 0 || linear.every((channel) => channel >= -1e-4 && channel <= 1 + 1e-4)) {
      return [gamma(linear[0]), gamma(linear[1]), gamma(linear[2])]
    }
  }
}

/** `from` at 0, `to` at 1. */
export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share, from[2] + (to[2] - from[2]) * share]
}

function oklabToLinear(lightness: number, a: number, b: number): Rgb {
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3
  return [
    4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short,
  ]
}

/** sRGB's transfer function (IEC 61966-2-1). */
function gamma(linear: number): number {
  const channel = Math.min(1, Math.max(0, linear))
  return channel <= 0.0031308 ? 12.92 * channel : 1.055 * channel ** (1 / 2.4) - 0.055
}
