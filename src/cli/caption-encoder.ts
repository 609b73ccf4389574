import { existsSync } from 'node:fs'
import type { Device } from '../tensor/device.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import type { LoadedModel } from '../training/load-model.ts'
import { UsageError } from './failure.ts'
import type { Output } from './output.ts'

/**
 * What encodes the captions of a model of text: the one that was named, or that of its run; undefined for a model of classes.
 *
 * @throws {UsageError} where the model is of classes and one was named, and where none is known; {Error} where
 *   that of the run is not there any more; {RangeError} where it is of other sizes
 */
export async function openCaptionEncoder(
  named: string | undefined,
  { model, captionEncoder: ofRun }: Pick<LoadedModel, 'model' | 'captionEncoder'>,
  { device, out }: { readonly device: Device; readonly out: Output },
): Promise<CaptionEncoder | undefined> {
  const { text } = model
  if (!text) {
    if (named === undefined) return undefined
    throw new UsageError('--caption-encoder is of a model of text, and this one is told classes; leave it out.')
  }
  const path = named ?? ofRun?.file
  if (path === undefined) {
    throw new UsageError('The checkpoint does not say what encodes captions; name it by --caption-encoder FILE.')
  }
  if (named === undefined && !existsSync(path)) {
    throw new Error(
      `The caption encoder of the checkpoint's run, ${path}, is not there; name where it lies now by --caption-encoder FILE.`,
    )
  }
  const [{ captionEncoderDigest }, { loadCaptionEncoder }, { requireFittingEncoder }] = await Promise.all([
    import('../text/clip-files.ts'),
    import('../text/load-caption-encoder.ts'),
    import('../text/encoded-captions.ts'),
  ])
  const encoder = await loadCaptionEncoder(path, { device })
  try {
    // Before a warning that follows from it.
    requireFittingEncoder(encoder, { text, device })
  } catch (error) {
    encoder[Symbol.dispose]()
    throw error
  }
  if (ofRun?.digest !== undefined && ofRun.digest !== (await captionEncoderDigest(path))) {
    out.warn(`${encoder.file}, its tokenizer or config.json is another than the model was trained with.`)
  }
  return encoder
}
