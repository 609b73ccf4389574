// Ends while a GPU's queue is full, and waits for nothing.
import { native } from './addon.mjs'

const x = native.empty([2 ** 20], 'f32', 'cuda:0')
for (let i = 0; i < 3; i++) native.fill(x, i)
