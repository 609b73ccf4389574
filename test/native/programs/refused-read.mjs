// Reads and waits that are refused, for a step is captured; and ends.
import { native } from './addon.mjs'

const DEVICE = 'cuda:0'
const x = native.empty([8], 'f32', DEVICE)
native.beginCapture(DEVICE)
for (const wait of [() => native.read(x), () => native.synchronize(DEVICE)]) {
  try {
    wait()
  } catch (error) {
    console.log(error.message)
  }
}
native.destroyGraph(DEVICE, native.endCapture(DEVICE))
