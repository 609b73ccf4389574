/**
 * Saves what a failure would cost, the steps since the last checkpoint: `save` returns its folder. `onNotice` hears
 * where it is, or, as on a full disk, why there is none.
 */
export async function saveOnFailure(
  save: () => Promise<string>,
  onNotice: ((sentence: string) => void) | undefined,
): Promise<void> {
  let checkpoint: string
  try {
    checkpoint = await save()
  } catch (error) {
    onNotice?.(
      `The steps since the last checkpoint could not be saved: ${error instanceof Error ? error.message : String(error)}`,
    )
    return
  }
  onNotice?.(`The steps until the failure are saved, ${checkpoint}; \`resume\` goes on from there.`)
}
