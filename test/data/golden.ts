import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { goldenFolder, haveGolden } from '../shared-folder.ts'

/** Every tensor of a safetensors file of the golden folder; none where there is no such folder. */
export async function goldenTensors(path: string): Promise<Map<string, HostTensor>> {
  if (!haveGolden) return new Map()
  await using file = await SafetensorsFile.open(join(goldenFolder, path))
  return await file.readAll()
}

interface ManifestFile {
  readonly kind: string
  readonly tensors?: Readonly<Record<string, { role: string; tol?: { atol: number; rtol: number } }>>
}

/** The files of one golden case, from the manifest; none where there is no golden folder. */
export function goldenCase(id: string): Map<string, ManifestFile> {
  if (!haveGolden) return new Map()
  const manifest: { cases: { id: string; files: Record<string, ManifestFile> }[] } = JSON.parse(
    readFileSync(join(goldenFolder, 'manifest.json'), 'utf8'),
  )
  const found = manifest.cases.find((entry) => entry.id === id)
  if (!found) throw new Error(`The golden manifest has no case '${id}'.`)
  return new Map(Object.entries(found.files))
}
