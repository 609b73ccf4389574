// A device that is busy for as long as this wants: `node busy.mjs DEVICE OTHER_END`. Both ends of a communicator are in this process, and
// one of them never takes part in an exchange. A call that waited for the device would wait for good. Prints what happened, in order.
import { setTimeout as pause } from 'node:timers/promises'
import { native } from './addon.mjs'

const [device, otherEnd] = process.argv.slice(2)
const id = native.communicatorId(device, 2)
const ends = await Promise.all([device, otherEnd].map((end, rank) => native.openCommunicator(end, id, rank, 2)))
const happened = []

const values = new Float32Array(256 * 256).fill(1 / 256)
const x = native.fromHost(values, [256, 256], 'f32', device)
native.allReduceSum(ends[0], [x])
for (let i = 0; i < 100; i++) {
  const [product] = native.linear(x, x, null, 'none', false, 'f32')
  native.write(x, values)
  native.dispose(product)
}
happened.push('calls have returned')
const read = native.read(x).then(
  () => happened.push('it was read'),
  (error) => happened.push(error.message),
)
const idle = native.synchronize(device).catch(() => {})
for (let i = 0; i < 3; i++) {
  await pause(10)
  happened.push('a timer has fired')
}
for (const end of ends) native.abortCommunicator(end, 'nobody else comes.')
await Promise.all([read, idle])

for (const end of new Set([device, otherEnd])) native.resetDevice(end)
native.fill(x, 3)
happened.push(`it goes on: ${new Float32Array(await native.read(x))[0]}`)
for (const end of ends) native.closeCommunicator(end)
console.log(JSON.stringify(happened))
