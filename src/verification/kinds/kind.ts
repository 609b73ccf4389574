import type { Device } from '../../tensor/device.ts'
import type { Comparison } from '../comparison.ts'
import type { GoldenFile } from '../golden-set.ts'

/** What a runner found out besides numbers: that a damaged file was refused, and how. */
export interface Note {
  readonly note: string
}

/**
 * Computes what a golden file of one kind holds, from its inputs and args alone, and compares. Throws where it cannot;
 * leaves nothing on the device. Outputs, losses, gradients and states that it does not compare count as failures.
 */
export type Runner = (file: GoldenFile, device: Device) => AsyncGenerator<Comparison | Note>
