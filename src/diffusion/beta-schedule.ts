export const BETA_SCHEDULES = ['linear', 'squaredcos_cap_v2'] as const

/** `linear`: DDPM's (arXiv 2006.11239); `squaredcos_cap_v2`: Improved DDPM's cosine (arXiv 2102.09672). */
export type BetaSchedule = (typeof BETA_SCHEDULES)[number]

/** How much noise each step of a diffusion adds, β_1 … β_T (get_named_beta_schedule), in float64. */
export function betaSchedule(schedule: BetaSchedule, steps: number): Float64Array {
  switch (schedule) {
    case 'linear':
      return linearBetas(steps)
    case 'squaredcos_cap_v2':
      return cosineBetas(steps)
  }
}

/** From 0.0001 to 0.02 over 1000 steps, and scaled so that other numbers of steps end in as much noise. */
function linearBetas(steps: number): Float64Array {
  const scale = 1000 / steps
  const [first, last] = [scale * 0.0001, scale * 0.02]
  const stride = steps > 1 ? (last - first) / (steps - 1) : 0
  return Float64Array.from({ length: steps }, (_, i) => (i > 0 && i === steps - 1 ? last : first + i * stride))
}

const LARGEST_BETA = 0.999

function cosineBetas(steps: number): Float64Array {
  const alphaBar = (t: number) => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2
  return Float64Array.from({ length: steps }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / steps) / alphaBar(i / steps), LARGEST_BETA),
  )
}
