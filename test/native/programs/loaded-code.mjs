// Kernels whose code finds no room on a GPU that tensors fill (REPA_SIMT_MEMORY, REPA_SIMT_CODE): first those in use, then those of before.
import { native } from './addon.mjs'

const DEVICE = 'cuda:0'
const MIB = 2 ** 20

const x = native.empty([8, 8], 'f32', DEVICE)
native.fill(x, 0.5)
await native.synchronize(DEVICE)
const rest = [32, 16, 8, 4, 2, 1].flatMap((mebibytes) => {
  try {
    return [native.empty([mebibytes * MIB], 'u8', DEVICE)]
  } catch {
    return []
  }
})

const said = []
const attempt = (make) => {
  try {
    return make()
  } catch (error) {
    said.push(`${error.code} ${error.message}`)
    return undefined
  }
}
// With a launch's own shared memory, and without: the first call that wants the code is another one.
attempt(() => native.activation(x, 'gelu-tanh'))
attempt(() => native.linear(x, x, undefined, 'none', false, 'f32'))

for (const tensor of rest) native.dispose(tensor)
const cachedBefore = native.memoryStats(DEVICE).cachedBytes
const activated = native.activation(x, 'gelu-tanh')
const afterActivation = native.memoryStats(DEVICE).cachedBytes

// Once more full, while a step is captured.
for (const tensor of [16, 8, 4, 2, 1].map((mebibytes) => native.empty([mebibytes * MIB], 'u8', DEVICE)))
  native.dispose(tensor)
native.beginCapture(DEVICE)
const [product] = native.linear(x, x, undefined, 'none', false, 'f32')
const graph = native.endCapture(DEVICE)
native.launchGraph(DEVICE, graph)
const first = async (tensor) => new Float32Array(await native.read(tensor))[0]
console.log(
  JSON.stringify({
    said,
    cachedBefore,
    afterActivation,
    values: [await first(activated), await first(product)],
  }),
)
