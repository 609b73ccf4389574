/**
 * Writes what a failure kept from the log: steps that a checkpoint counts, and that the log of a run which goes on from it would lack for
 * ever. A log that cannot be written is told of; the failure that came before it is the one to throw.
 */
export async function logUnreported<Step extends { readonly index: number }>(
  steps: readonly Step[],
  write: (step: Step) => Promise<void>,
  onNotice: ((sentence: string) => void) | undefined,
): Promise<void> {
  try {
    for (const step of steps) await write(step)
  } catch (error) {
    onNotice?.(
      `The log lacks the steps from ${steps[0]!.index} on: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}
