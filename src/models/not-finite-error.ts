/** What a network gave is not finite: its weights have diverged, or its dtype ends below what it computes. Such pixels would be written black. */
export class NotFiniteError extends Error {
  override readonly name = 'NotFiniteError'
}
