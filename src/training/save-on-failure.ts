/**
 * Saves what a failure would cost, the steps since the last checkpoint: `save` returns its folder. Where that fails too, as on a full disk,
 * the first failure is all that is said.
 */
export async function saveOnFailure(
  save: () => Promise<string>,
  onNotice: ((sentence: string) => void) | undefined,
): Promise<void> {
  let checkpoint: string
  try {
    checkpoint = await save()
  } catch {
    return
  }
  onNotice?.(`The steps until the failure are saved, ${checkpoint}; --resume goes on from there.`)
}
