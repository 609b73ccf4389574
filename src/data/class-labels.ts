/** Labels as numbers of classes: their range, and how many images each class has. */

/**
 * More than any set of classes (ImageNet-21k has 21,841), and what a model can have rows for: 2²⁰ rows of SiT-XL/2's width in fp32 are
 * 4.8 GB. Beyond it a number is an identifier that stands where a label should.
 */
const MOST_CLASSES = 2 ** 20

/**
 * Holds labels to numbers from 0 that a model's table and a list of counts can have rows for.
 *
 * @param source what gives the labels, as the error names it
 * @param advice what to do: an imperative sentence without its full stop
 * @throws {RangeError} that names the first image of such a label
 */
export function requireClassLabels(
  source: string,
  images: Iterable<{ readonly name: string; readonly label: number }>,
  advice: string,
): void {
  for (const { name, label } of images) {
    if (label < MOST_CLASSES) continue
    throw new RangeError(
      `'${source}' gives '${name}' the label ${label}; the number of a class, from 0 and below ${MOST_CLASSES}, was expected, and this looks ` +
        `like an identifier. ${advice}.`,
    )
  }
}

/** Images of each class, by label. */
export function countClasses(
  labels: readonly number[],
  classes = labels.reduce((max, label) => Math.max(max, label), 0) + 1,
): number[] {
  const counts = new Array<number>(classes).fill(0)
  for (const label of labels) counts[label]! += 1
  return counts
}
