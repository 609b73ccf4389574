// Ends while a GPU's queue is full, a tenth of a second's work even of a large one, and waits for nothing.
import { native } from './addon.mjs'

const x = native.empty([2 ** 24], 'f32', 'cuda:0')
for (let i = 0; i < 5000; i++) native.fill(x, i)
