// Computes and stops: with a result awaited, or (`unawaited`) with work and a read still in the queue.
import { native } from './addon.mjs'

const x = native.empty([512, 512], 'f32', 'cpu')
native.fill(x, 1)
let [y] = native.linear(x, x, null, 'none', false, 'f32')
for (let i = 0; i < 20; i++) [y] = native.linear(x, y, null, 'none', false, 'f32')
const read = native.read(native.sum(x, 1))
if (process.argv[2] !== 'unawaited') console.log(new Float32Array(await read)[0])
