// Ends while a GPU's queue is full, and waits for nothing: 335 GB are to be written, and a GPU writes a few TB in a second.
import { native } from './addon.mjs'

const x = native.empty([2 ** 24], 'f32', 'cuda:0')
for (let i = 0; i < 5000; i++) native.fill(x, i)
