// What the shim counts of kernels' memory traffic (native/simt/traffic), read and put to lines of their sources.
import { spawnSync } from 'node:child_process'

/**
 * The instructions of a report.
 *
 * @returns {import('./traffic-report.d.mts').Instruction[]}  `bytes` of a lane, of `requests` by a warp's lanes together; `units`: passes
 *   through the banks of shared memory or sectors of global memory, and the `least` for as many bytes side by side; `place`: in the addon's file
 */
export function readTraffic(text) {
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [place, space, kind, bytes, requests, units, least, kernel] = line.split('\t')
      const instruction = { kernel, place: Number(place), space, kind, bytes: Number(bytes) }
      const sums = { requests: Number(requests), units: Number(units), least: Number(least) }
      return { ...instruction, ...sums }
    })
}

/** Sums of what has the same key. */
function sumBy(instructions, keyOf) {
  const sums = new Map()
  for (const each of instructions) {
    const sum = sums.get(keyOf(each))
    if (!sum) sums.set(keyOf(each), { ...each })
    else for (const field of ['requests', 'units', 'least']) sum[field] += each[field]
  }
  return [...sums.values()]
}

/** By kernel, all instances of a template together, and by space: the most units beyond the least first. */
export function trafficByKernel(instructions) {
  const named = instructions.map((each) => ({ ...each, kernel: each.kernel.replace(/<.*/s, '') }))
  return sumBy(named, ({ kernel, space }) => `${kernel} ${space}`)
    .map(({ kernel, space, requests, units, least }) => ({ kernel, space, requests, units, least }))
    .sort((a, b) => b.units - b.least - (a.units - a.least))
}

/**
 * Lines of the sources, the most units beyond the least first, each with the two that it was inlined into.
 *
 * @param {string} addon  the file that the program ran with
 */
export function trafficByLine(instructions, addon) {
  const lines = linesOf([...new Set(instructions.map(({ place }) => place))], addon)
  const placed = instructions.map((each) => ({ ...each, line: lines.get(each.place) }))
  return sumBy(placed, ({ line, space, kind, bytes }) => `${line} ${space} ${kind} ${bytes}`).sort(
    (a, b) => b.units - b.least - (a.units - a.least),
  )
}

/** Where places in a file stand in the kernels' sources: `vector.h:28 < patch_embed.cu:41`, by binutils' addr2line. */
function linesOf(places, addon) {
  const { error, status, stdout, stderr } = spawnSync('addr2line', ['--addresses', '--inlines', '--exe', addon], {
    encoding: 'utf8',
    input: places.map((place) => `0x${place.toString(16)}\n`).join(''),
    maxBuffer: 1 << 30,
  })
  if (error || status !== 0)
    throw new Error(`addr2line, of binutils, could not tell lines of ${addon}: ${error?.message ?? stderr.trim()}`)
  const lines = new Map()
  for (const block of stdout.split(/^0x/m).slice(1)) {
    const [place, ...frames] = block.trim().split('\n')
    const own = frames
      .map((frame) => frame.replace(/ \(discriminator.*/, ''))
      .filter((frame) => !frame.includes('native/simt/'))
      .map((frame) => frame.replace(/^.*\//, ''))
    lines.set(Number.parseInt(place, 16), own.slice(0, 3).join(' < ') || 'not in a kernel')
  }
  return lines
}
