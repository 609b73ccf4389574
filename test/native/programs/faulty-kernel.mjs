// Calls after a kernel that faulted (REPA_SIMT_FAULT=activation): each line is what one of them says.
//   faulty-kernel.mjs memory  the fault is seen where memory is taken
//   faulty-kernel.mjs work    where work is enqueued
import { setTimeout as sleep } from 'node:timers/promises'
import { native } from './addon.mjs'

const DEVICE = 'cuda:0'
const say = (error) => console.log(`${error.code} ${error.message}`)
const x = native.empty([8, 8], 'f32', DEVICE)
native.fill(x, 1)
await native.synchronize(DEVICE)

native.activation(x, 'gelu-tanh')
await sleep(200)
if (process.argv[2] === 'memory') {
  try {
    native.empty([1 << 20], 'f32', DEVICE)
  } catch (error) {
    say(error)
  }
} else native.fill(x, 2)
await native.synchronize(DEVICE).catch(say)
native.resetDevice(DEVICE)
await native.read(x).catch(say)
