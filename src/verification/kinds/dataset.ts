/** `dataset.file`: the files of a data set in the layout that REPA's preprocessing writes, read as its CustomDataset reads them. */
import { basename, dirname, join } from 'node:path/posix'
import { Dataset } from '../../data/dataset.ts'
import { parseDatasetJson } from '../../data/dataset-json.ts'
import { LAYOUT } from '../../data/layout.ts'
import { hostFloat32 } from '../../tensor/host-tensor.ts'
import type { Runner } from './kind.ts'

/**
 * Expected tensors are `INDEX.image`, `INDEX.features` and `INDEX.label`, the index being the file's place among the sorted
 * names of its kind. Labels stand for the dataset.json that they come from.
 */
export const datasetFile: Runner = async function* (file) {
  await file.set.requireIntact(file.path)
  const { root, folder } = placeOf(file.path)
  const [expectedPath] = file.siblings('expected')
  if (expectedPath === undefined) throw new Error(`The case of ${file.path} has no file of expected tensors.`)
  await using expected = file.set.file(expectedPath)
  const siblings = file.siblings(file.spec.kind)
  for (const path of siblings) await file.set.requireIntact(path)
  const dataset = await Dataset.open(join(file.set.directory, root))

  if (basename(file.path) === LAYOUT.labels) {
    const used = [LAYOUT.latents, LAYOUT.images]
      .map((name) => join(root, name, LAYOUT.labels))
      .find((path) => file.set.has(path))
    if (file.path !== used) {
      parseDatasetJson(Buffer.from(await file.bytes()).toString('utf8'), file.absolutePath)
      yield { note: `read; the labels are those of ${used}` }
      return
    }
    for (const [index, label] of dataset.labels.entries()) {
      const data = new Uint8Array(BigInt64Array.of(BigInt(label)).buffer)
      yield await expected.compare(`${index}.label`, { dtype: 'i64', shape: [], data })
    }
    return
  }
  const names = siblings
    .filter((path) => path.startsWith(`${join(root, folder)}/`) && basename(path) !== LAYOUT.labels)
    .sort()
  const index = names.indexOf(file.path)
  const isImage = folder === LAYOUT.images
  const sample = await dataset.read(index, { image: isImage, latent: !isImage })
  yield isImage
    ? await expected.compare(`${index}.image`, {
        dtype: 'u8',
        shape: [3, dataset.imageSize, dataset.imageSize],
        data: sample.image!,
      })
    : await expected.compare(`${index}.features`, hostFloat32(sample.latent!, dataset.storedLatentShape))
}

/** The data set's folder and which of its two folders the file is in. */
function placeOf(path: string): { root: string; folder: string } {
  const parts = dirname(path).split('/')
  const at = parts.findIndex((part) => part === LAYOUT.images || part === LAYOUT.latents)
  if (at < 0) throw new Error(`${path} is neither in a folder '${LAYOUT.images}' nor in '${LAYOUT.latents}'.`)
  return { root: parts.slice(0, at).join('/'), folder: parts[at]! }
}
