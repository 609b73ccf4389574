import type { NativeAddon } from '../../native.ts'
import { elementCount } from '../../tensor/dtype.ts'
import { handleOf, plannedOf } from '../planned-tensor.ts'
import type { Planner } from '../planner.ts'

/** Making, viewing and reading tensors. What is read from the planning device is zeros. */
export const tensorRules = (planner: Planner) =>
  ({
    empty: (shape, dtype, device) => planner.make(shape, dtype, device),
    fromHost: (_data, shape, dtype, device) => planner.make(shape, dtype, device),
    write: () => {},
    read: async (tensor) => new ArrayBuffer(plannedOf(tensor).bytes),
    dispose: (tensor) => plannedOf(tensor).dispose(),
    shapeOf: (tensor) => [...plannedOf(tensor).shape],
    dtypeOf: (tensor) => plannedOf(tensor).dtype,
    sharesStorage: (tensor) => plannedOf(tensor).storage.users > 1,
    alias: (tensor) => handleOf(plannedOf(tensor).sharing(plannedOf(tensor).shape)),
    reshape: (tensor, shape) => {
      const from = plannedOf(tensor)
      if (elementCount(shape) !== from.elements) {
        throw new RangeError(`reshape: [${from.shape}] cannot become [${shape}]: the number of elements differs.`)
      }
      return handleOf(from.sharing(shape))
    },
    view: (tensor, offset, shape) => {
      const from = plannedOf(tensor)
      if (offset < 0 || offset + elementCount(shape) > from.elements) {
        throw new RangeError(`view: [${shape}] at element ${offset} does not fit into [${from.shape}].`)
      }
      return handleOf(from.sharing(shape, offset))
    },
    fill: () => {},
    copy: () => {},
    fillUniform: () => {},
    fillNormal: () => {},
    fillTimesteps: () => {},
    fillIntegers: () => {},
    dropLabels: (labels) => planner.like(labels),
    drawTokens: () => {},
    synchronize: async () => {},
    // A product takes the same memory either way.
    allowTf32: () => {},
  }) satisfies Partial<NativeAddon>
