/** What a run in progress has logged since: everything from step `from` on. */
export interface LoggedPoints {
  readonly run: number
  readonly from: number
  readonly step: readonly number[]
  readonly columns: Readonly<Record<string, readonly (number | null)[]>>
}

/** What the server that follows a run tells the page, each as one server-sent event. */
export type LiveMessage =
  | {
      readonly kind: 'points'
      readonly logged: readonly LoggedPoints[]
      /** The first and the last step of all runs. */
      readonly first: number
      readonly last: number
      /** Parts of the page that say how far the runs are, by their names. */
      readonly parts: Readonly<Record<string, string>>
    }
  /** More than points has changed: fetch the page and take what is new from it; with `whole`, the curves as well. */
  | { readonly kind: 'page'; readonly whole: boolean }
  /** A file cannot be read; an empty sentence says that all is well again. */
  | { readonly kind: 'problem'; readonly sentence: string }
