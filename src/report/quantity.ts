/** `1234567` → `1,234,567`. */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return String(count)
  const [whole, fraction] = String(Math.round(count * 100) / 100).split('.')
  const grouped = whole!.replace(/\B(?=(\d{3})+$)/g, ',')
  return fraction === undefined ? grouped : `${grouped}.${fraction}`
}

/**
 * A number to so many significant digits, as a person would write it: `0.0001` → `1e-4`, `1234.5` → `1,235` (never fewer
 * digits than the whole part has), `0.81240` → `0.8124`.
 */
export function formatSignificant(value: number, digits: number): string {
  if (value === 0) return '0'
  if (!Number.isFinite(value)) return String(value)
  // The exponent after rounding: 9.999 to three digits is 10.0.
  const [mantissa, exponent] = value.toExponential(digits - 1).split('e')
  const magnitude = Number(exponent)
  if (magnitude < -3 || magnitude > 8) return `${Number(mantissa)}e${magnitude}`
  const text = value.toFixed(Math.max(0, digits - 1 - magnitude))
  return Math.abs(value) >= 1000 ? formatCount(Number(text)) : text
}

/** A share of one in per cent, without the sign, which stands at the axis: `0.25` → `25`, `0.1234` → `12.3`. */
export function formatShare(share: number): string {
  return String(Number((share * 100).toFixed(1)))
}

/** A count in few characters, for labels: `250`, `20K`, `1.5M`. */
export function formatShortCount(count: number): string {
  if (count >= 1e6) return `${formatCount(count / 1e6)}M`
  return count >= 1e4 ? `${formatCount(count / 1e3)}K` : formatCount(count)
}

/** Seconds as `850 ms`, `12.3 s`, `3 min 05 s`, `2 h 07 min`, `4 d 03 h`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–'
  if (seconds < 0.9995) return `${Math.round(Math.max(0, seconds) * 1000)} ms`
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`
  const two = (value: number) => String(value).padStart(2, '0')
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`
  const hours = Math.round(seconds / 3600)
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`
}

/** Bytes as `512 B`, `34.1 KiB`, `1.2 MiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let size = bytes
  let unit = 'B'
  for (const next of units) {
    if (size < 1024) break
    size /= 1024
    unit = next
  }
  return `${size.toFixed(1)} ${unit}`
}
