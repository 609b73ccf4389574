/** Prefixes of a whole state dict that say how the model was wrapped: DistributedDataParallel, torch.compile. */
const WRAPPERS = ['module.', '_orig_mod.'] as const

const LEGACY_BLOCK = /^decoder_blocks\.(\d+)\./

/**
 * The names of a diffusion transformer's state dict as the models here have them, each with the name that the file has:
 * - `module.` and `_orig_mod.`, which wrapped models were saved with, are left out where every name has them;
 * - REPA's early checkpoints, called legacy there, have the blocks after the aligned one as `decoder_blocks.{j}`: they are
 *   `blocks.{j + encoder_depth}` (its utils.py, load_legacy_checkpoints), the depth being the number of `blocks` that there are.
 */
export function canonicalNames(names: readonly string[]): Map<string, string> {
  let stored = new Map(names.map((name) => [name, name]))
  for (let found = true; found; ) {
    const prefix = WRAPPERS.find(
      (wrapper) => stored.size > 0 && [...stored.keys()].every((name) => name.startsWith(wrapper)),
    )
    found = prefix !== undefined
    if (prefix) stored = new Map([...stored].map(([name, own]) => [name.slice(prefix.length), own]))
  }
  const isLegacy = [...stored.keys()].some((name) => LEGACY_BLOCK.test(name))
  if (!isLegacy) return stored
  const encoderDepth = new Set([...stored.keys()].flatMap((name) => /^blocks\.(\d+)\./.exec(name)?.[1] ?? [])).size
  return new Map(
    [...stored].map(([name, own]) => [
      name.replace(LEGACY_BLOCK, (_, index) => `blocks.${Number(index) + encoderDepth}.`),
      own,
    ]),
  )
}

/** As `canonicalNames`, of tensors by name. */
export function withCanonicalNames<T>(tensors: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...canonicalNames([...tensors.keys()])].map(([name, own]) => [name, tensors.get(own)!]))
}
