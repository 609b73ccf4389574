import { readSamplingRecord, type SamplingRecord } from '../diffusion/sampling-record.ts'
import { isUnfinished } from '../diffusion/unfinished-sampling.ts'
import type { Output } from './output.ts'

/** How the samples that a command judges were made, where that is noted; warns where they are not all there. */
export async function sampledBy(samples: string, out: Output): Promise<SamplingRecord | undefined> {
  if (await isUnfinished(samples)) {
    out.warn(`${samples} holds an unfinished sampling: its images are not all there, and may be of several calls.`)
  }
  return readSamplingRecord(samples)
}
