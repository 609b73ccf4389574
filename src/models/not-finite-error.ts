/** What a network gave is not finite: its weights have diverged, or its dtype ends below what it computes. Of such pixels black ones would be made. */
export class NotFiniteError extends Error {
  override readonly name = 'NotFiniteError'
}
