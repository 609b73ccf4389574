import { roundHalfEven } from '../tensor/round-half-even.ts'

/**
 * Which steps of a diffusion of `total` steps a sampler takes (space_timesteps), ascending. `respacing` is a number of steps ("250");
 * numbers for as many equal sections ("10,15,20"); or "ddimN", N steps of one integer stride from 0.
 *
 * @throws {RangeError} where so many cannot be taken
 */
export function respacedSteps(total: number, respacing: string): number[] {
  const ddim = /^ddim(\d+)$/.exec(respacing)
  if (ddim) return stridedSteps(total, Number(ddim[1]))
  if (!/^\d+(,\d+)*$/.test(respacing)) {
    throw new RangeError(
      `"${respacing}" is no respacing: expected a number of steps, several with commas between, or "ddimN".`,
    )
  }
  const sections = respacing.split(',').map(Number)
  const shortest = Math.floor(total / sections.length)
  const longer = total % sections.length
  const steps = new Set<number>()
  let start = 0
  sections.forEach((count, section) => {
    const size = shortest + (section < longer ? 1 : 0)
    if (count > size) {
      throw new RangeError(`Of ${size} steps of the diffusion, ${count} cannot be taken (respacing ${respacing}).`)
    }
    const stride = count <= 1 ? 1 : (size - 1) / (count - 1)
    // Summed as the reference sums: a product would round some steps the other way.
    for (let i = 0, at = 0; i < count; i++, at += stride) steps.add(start + roundHalfEven(at))
    start += size
  })
  if (steps.size === 0) throw new RangeError(`The respacing ${respacing} takes no step.`)
  return [...steps].sort((a, b) => a - b)
}

function stridedSteps(total: number, count: number): number[] {
  for (let stride = 1; stride < total; stride++) {
    if (Math.ceil(total / stride) === count) return Array.from({ length: count }, (_, i) => i * stride)
  }
  throw new RangeError(`No integer stride takes ${count} of ${total} steps (respacing ddim${count}).`)
}
