// Uploads for whose copy on the way the process has no memory: its address space is held to what it has and a little more.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { native } from './addon.mjs'

const BYTES = 512 << 20
const ROOM = 256 << 20

const bytes = new Uint8Array(BYTES)
const tensor = native.empty([BYTES], 'u8', 'cpu')
native.write(tensor, bytes)
await native.synchronize('cpu')

const used = 1024 * Number(/^VmSize:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1])
const limited = spawnSync('prlimit', ['--pid', String(process.pid), `--as=${used + ROOM}`], { encoding: 'utf8' })
if (limited.status !== 0) throw new Error(limited.stderr)
for (const call of [() => native.write(tensor, bytes), () => native.empty([BYTES], 'u8', 'cpu')]) {
  try {
    call()
    console.log('no error')
  } catch (error) {
    console.log(`${error.code} ${error.message}`)
  }
}
const small = native.fromHost(Uint8Array.of(5), [1], 'u8', 'cpu')
console.log(new Uint8Array(await native.read(small))[0])
