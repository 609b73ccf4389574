import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findSystemLibraries } from '../../src/doctor/system-libraries.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

const cache = [
  "3 libs found in cache `/etc/ld.so.cache'",
  '\tlibmpi.so.40 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libmpi.so.40',
  '\tlibmpich.so.12 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libmpich.so.12',
  '\tlibnccl.so.2 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnccl.so.2',
].join('\n')

test("looks in LD_LIBRARY_PATH before the loader's cache", async () => {
  const folder = temporaryFolder()
  writeTree(folder, { 'lib/libnccl.so.2.19.3': '', 'lib/libcublasLt_static.a': '', 'lib/xlibmpi.so': '' })
  const env = { LD_LIBRARY_PATH: `${folder}/missing::${folder}/lib` }
  expect(await findSystemLibraries(env, async () => cache)).toEqual([
    { name: 'cuBLASLt', file: undefined },
    { name: 'NCCL', file: join(folder, 'lib/libnccl.so.2.19.3') },
    { name: 'MPI', file: '/usr/lib/x86_64-linux-gnu/libmpi.so.40' },
  ])
})

test('nothing is there, and nothing fails', async () => {
  const found = await findSystemLibraries({}, async () => '')
  expect(found.map(({ file }) => file)).toEqual([undefined, undefined, undefined])
})
