import { expect, test } from 'vitest'

/** That the shim is the chip that REPA_SIMT_ARCH asked for before the addon looked for its devices. */
export function testChip(computeCapability: string): void {
  test('the device is such a chip', async () => {
    const { native } = await import('../../src/native.ts')
    const { devices } = native().cudaInfo()
    expect(devices.map((device) => device.computeCapability)).toEqual([computeCapability])
  })
}
