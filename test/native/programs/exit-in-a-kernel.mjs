// Ends while much is in a GPU's queue, and waits for nothing: 242 GB are to be written, and a GPU writes a few TB in a second. Not more launches
// than the queue takes, or this would wait for most of them.
import { native } from './addon.mjs'

const x = native.empty([2 ** 26], 'f32', 'cuda:0')
for (let i = 0; i < 900; i++) native.fill(x, i)
