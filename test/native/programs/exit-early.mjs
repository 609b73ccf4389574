// process.exit() while the queue is full and reads are under way.
import { native } from './addon.mjs'

const x = native.empty([768, 768], 'f32', 'cpu')
native.fill(x, 1)
for (let i = 0; i < 100; i++) native.read(native.linear(x, x, null, 'none', false, 'f32')[0])
process.exit(7)
