/**
 * Signed distance from the point (x, y) to the outline of a shape around the origin: negative inside. The formulas are those of
 * Inigo Quilez, "2D distance functions".
 */

/** A disc of radius `r`. */
export function disc(x: number, y: number, r: number): number {
  return Math.hypot(x, y) - r
}

/** A box of half width `w` and half height `h`, its corners rounded by `round` outward. */
export function box(x: number, y: number, w: number, h: number, round = 0): number {
  const dx = Math.abs(x) - w + round
  const dy = Math.abs(y) - h + round
  return Math.hypot(Math.max(dx, 0), Math.max(dy, 0)) + Math.min(Math.max(dx, dy), 0) - round
}

/** An equilateral triangle, tip up (towards negative y), whose corners lie `r` from its centre. */
export function triangle(x: number, y: number, r: number): number {
  const k = Math.sqrt(3)
  const half = (r * k) / 2
  let px = Math.abs(x) - half
  let py = -y + half / k
  if (px + k * py > 0) [px, py] = [(px - k * py) / 2, (-k * px - py) / 2]
  px -= Math.min(Math.max(px, -2 * half), 0)
  return -Math.hypot(px, py) * Math.sign(py)
}

/** A five-pointed star, one tip up; `inner` is the radius of its inner corners as a share of the tips' `r`. */
export function star(x: number, y: number, r: number, inner: number): number {
  const [k1x, k1y] = [Math.cos(Math.PI / 5), -Math.sin(Math.PI / 5)]
  let px = Math.abs(x)
  let py = -y
  for (const kx of [k1x, -k1x]) {
    const over = 2 * Math.max(kx * px + k1y * py, 0)
    px -= over * kx
    py -= over * k1y
  }
  px = Math.abs(px)
  py -= r
  const bx = inner * -k1y
  const by = inner * k1x - 1
  const along = Math.min(Math.max((px * bx + py * by) / (bx * bx + by * by), 0), r)
  return Math.hypot(px - bx * along, py - by * along) * Math.sign(py * bx - px * by)
}

/** An Archimedean spiral: a stroke of half width `w` whose turns lie `pitch` apart, as far out as `r`. */
export function spiral(x: number, y: number, pitch: number, w: number, r: number): number {
  const radius = Math.hypot(x, y)
  const turns = radius / pitch - Math.atan2(y, x) / (2 * Math.PI)
  const stroke = Math.abs(turns - Math.round(turns)) * pitch - w
  return Math.max(stroke, radius - r)
}
