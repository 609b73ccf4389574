/** The images of a span of rows, undefined where a row has none. */
export type SpanImages = Promise<readonly (Uint8Array | undefined)[]>

/**
 * The two spans that were read last, of all the files of a set: rows are asked for in order, some ahead of others. Files that kept theirs
 * until they are closed would come to tens of gigabytes.
 */
export class RecentSpans {
  #recent: { readonly span: object; readonly images: SpanImages }[] = []

  /** A span's images, read where they are not there. A span is known by its identity. */
  images(span: object, read: () => SpanImages): SpanImages {
    const recent = this.#recent.find((entry) => entry.span === span)
    if (recent) return recent.images
    const images = read()
    // Its failure belongs to whoever asks for a row.
    images.catch(() => {})
    this.#recent = [{ span, images }, ...this.#recent.slice(0, 1)]
    return images
  }
}
