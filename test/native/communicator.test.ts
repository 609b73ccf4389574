/** Processes that exchange tensors: on the CPU through shared memory, on a GPU by NCCL, of which the shim has one of its own. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { native } from '../../src/native.ts'
import { deviceOfProcess, mostProcesses } from '../distributed/gpus-of-processes.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DEVICES, isShim } from '../tensor/devices.ts'
import { startNode } from './run-program.ts'

const Exchanged = z.object({
  sums: z.array(z.string()),
  given: z.array(z.string()),
  inOrder: z.array(z.string()),
  roots: z.array(z.string()),
  scattered: z.array(z.string()),
  doubles: z.array(z.string()),
  rightDoubles: z.array(z.string()),
  untouched: z.array(z.string()),
  rightUntouched: z.array(z.string()),
  furthest: z.array(z.number()),
})

/** Runs `size` processes of test/native/programs/communicator.mjs to their ends. */
async function run(device: string, size: number, words: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const id = native().communicatorId(device, size)
  const ended = await Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const program = join(import.meta.dirname, 'programs/communicator.mjs')
      return startNode([program, deviceOfProcess(device, rank), id, String(rank), String(size), ...words], env)
    }),
  )
  // The memory that they shared has no name any more.
  if (device === 'cpu') expect(existsSync(id)).toBe(false)
  return ended
}

/** What processes have printed that have all ended well. */
function saidBy(ended: Awaited<ReturnType<typeof run>>): unknown[] {
  expect(ended.map(({ status, stderr }) => ({ status, stderr }))).toEqual(ended.map(() => ({ status: 0, stderr: '' })))
  return ended.map(({ stdout }) => JSON.parse(stdout))
}

for (const { device, missing } of DEVICES) {
  const { count: most, lacking } = missing ? { count: 0 } : mostProcesses(device)
  describe.skipIf(missing || lacking)(`processes on ${device}${lacking ? ` (${lacking})` : ''}`, () => {
    // The second has more than one slotful, which ends inside a tensor.
    const elements = '1,0,7,4099'
    const large = `3,${2 ** 18 - 5},${2 ** 19 + 11},1`
    const table = [1, 2, 3].flatMap((size) => [
      [size, elements] as const,
      ...(size > 1 && !isShim ? [[size, large] as const] : []),
    ])
    test.each(table.filter(([size]) => size <= most))(
      '%d of them sum tensors of %s elements, pass them on, and divide them',
      async (size, counts) => {
        const ended = await run(device, size, [counts])
        const seen = saidBy(ended).map((said) => Exchanged.parse(said))
        for (const one of seen) {
          const { sums, given, roots, inOrder, scattered, doubles, rightDoubles, furthest } = one
          expect(sums).toEqual(seen[0]!.sums)
          expect(given).toEqual(roots)
          expect(scattered).toEqual(seen[0]!.scattered)
          expect(doubles).toEqual(rightDoubles)
          expect(one.untouched).toEqual(one.rightUntouched)
          // NCCL promises no order, so that its sums are right up to the roundings of their additions.
          if (device === 'cpu') expect(sums).toEqual(inOrder)
          if (device === 'cpu') expect(scattered).toEqual(inOrder.flatMap((sum) => [sum, sum, sum, sum]))
          for (const error of furthest) expect(error).toBeLessThanOrEqual((size - 1) * 2 ** -24)
        }
      },
    )

    // These wait for seconds, beside each other.
    test.skipIf(most < 2)(
      'one that waits for a process that does not come ends by abort, and the device says why',
      { concurrent: true },
      async () => {
        const [, waiting] = await run(device, 2, ['0', 'abort'])
        expect(JSON.parse(waiting!.stdout)).toEqual({ abort: 'process 0 has gone.' })
        expect(waiting).toMatchObject({ status: 0, stderr: expect.stringContaining('process 0 has gone.') })
      },
    )

    test.skipIf(device !== 'cpu' || process.platform !== 'linux')(
      'one that waits for memory behind a process that has ended finds that out by itself',
      { concurrent: true },
      async () => {
        const [, waiting] = await run(device, 2, ['0', 'memory'])
        expect(waiting).toMatchObject({ status: 0, stderr: '' })
        expect(JSON.parse(waiting!.stdout)).toEqual({
          memory: 'allReduceSum failed on the CPU device: process 0 of 2 has ended.',
        })
      },
    )

    test.skipIf(process.platform !== 'linux' || most < 2)(
      'so does one that has given the device more than its queue takes',
      { concurrent: true },
      async () => {
        const [, waiting] = await run(device, 2, ['0', 'full'])
        expect(waiting).toMatchObject({ status: 0, stderr: '' })
        const [said, after] = waiting!.stdout.trimEnd().split('\n')
        expect(JSON.parse(said!)).toEqual({ full: expect.stringMatching(/process 0 of 2 has ended\.$/) })
        expect(after).toBe('7')
      },
    )

    test.skipIf(!isShim || device === 'cpu')(
      'one whose captured exchange waits ends by abort, while there is the graph',
      async () => {
        const [, waiting] = await run(device, 2, ['0', 'graph'])
        expect(waiting).toMatchObject({ status: 0, stderr: '' })
        expect(JSON.parse(waiting!.stdout)).toEqual({ graph: 'process 0 has gone.' })
      },
    )

    test.skipIf(!isShim || device === 'cpu')(
      'one whose captured exchanges a graph holds is let go of beside the thread that destroys the graph',
      async () => {
        const ended = await run(device, 2, ['0', 'left'])
        for (const said of saidBy(ended)) {
          expect(said).toEqual(['destroyed', 'closed'])
        }
      },
    )

    test.skipIf(!isShim || device === 'cpu')(
      'one that waits behind a network that has failed ends, and says what NCCL says',
      { concurrent: true },
      async () => {
        const [, waiting] = await run(device, 2, ['0', 'broken'], { REPA_FAKE_NCCL_BREAKS: '500' })
        expect(waiting).toMatchObject({ status: 0, stderr: '' })
        expect(JSON.parse(waiting!.stdout)).toEqual({
          broken: expect.stringContaining(
            'NCCL could not exchange with the other processes: remote process exited or there was a network error (a cable is out).',
          ),
        })
      },
    )

    test.skipIf(!isShim || device === 'cpu')(
      'what begins goes on beside the device, which waits for it where it is told to',
      async () => {
        const ended = await run(device, 2, ['0', 'beside'], { REPA_FAKE_NCCL_DELAY: '800000' })
        for (const said of saidBy(ended)) {
          expect(said).toEqual({ early: true, late: true })
        }
      },
    )

    test.skipIf(!isShim || device === 'cpu')(
      'a capture holds what it has begun and the wait for it, or none of both',
      async () => {
        const ended = await run(device, 2, ['0', 'unjoined'])
        for (const said of saidBy(ended)) {
          expect(said).toEqual({
            inside: expect.stringContaining('capturing stream has unjoined work (cudaErrorStreamCaptureUnjoined)'),
            before: expect.stringContaining('awaitBegun failed on cuda:0: CUDA failed to let a stream wait'),
            both: 'a graph',
          })
        }
      },
    )

    test.skipIf(!isShim || device === 'cpu')(
      'processes that exchange other ranges are told of by the stand-in for NCCL',
      async () => {
        const ended = await run(device, 2, ['0', 'others'])
        expect(ended.map(({ status }) => status)).toContain(70)
        expect(ended.map(({ stderr }) => stderr).join('')).toMatch(/fake NCCL: process \d calls Reduce of \d elements/)
      },
    )

    test('calls that cannot be right are sentences', async () => {
      const addon = native()
      const nowhere = join(temporaryFolder(), 'nowhere')
      const id = addon.communicatorId(device, 1)
      const communicator = await addon.openCommunicator(device, id, 0, 1)
      const half = addon.empty([2], 'i32', device)
      const good = addon.empty([2], 'f32', device)
      expect(() => addon.allReduceSum(communicator, [half])).toThrow('allReduceSum: the tensor is i32; expected f32.')
      expect(() => addon.broadcast(communicator, good, 1)).toThrow('broadcast: root is 1; expected 0 to 0.')
      for (const share of [-1, 3]) {
        expect(() => addon.allGather(communicator, good, share)).toThrow(
          `allGather: share is ${share}; expected 0 to 2, for 1 processes divide 2 elements.`,
        )
      }
      const square = addon.empty([2, 2], 'f32', device)
      expect(() => addon.beginReduceSum(communicator, square, 2, [])).toThrow(
        'beginReduceSum: the tensor has shape [2, 2]; expected [n].',
      )
      for (const ranges of [[0], [1, 0], [0, 3], [0, 1.5], [1, 2, 0, 1]]) {
        expect(() => addon.beginReduceSum(communicator, good, 1, ranges)).toThrow(/^beginReduceSum: (the )?summed /)
      }
      expect(() => addon.beginAllGather(communicator, half, 2)).toThrow(
        'beginAllGather: the tensor is i32; expected f32.',
      )
      expect(() => addon.allGather(communicator, half, 2)).toThrow('allGather: the tensor is i32; expected f32.')
      expect(() => addon.abortCommunicator(communicator, '')).toThrow('reason is empty')
      addon.closeCommunicator(communicator)
      expect(() => addon.allReduceSum(communicator, [good])).toThrow(`there is no open communicator ${communicator}.`)
      addon.awaitBegun(communicator)
      expect(() => addon.communicatorId(device, 0)).toThrow('size is 0; expected 1 to 4096 processes.')
      await expect(addon.openCommunicator(device, id, 2, 2)).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
        message: 'openCommunicator: rank is 2; expected 0 to 1.',
      })
      await expect(addon.openCommunicator(device, nowhere, 0, 1)).rejects.toThrow(
        device === 'cpu'
          ? `${nowhere}, does not open: No such file`
          : `An id of NCCL is 256 hexadecimal digits; got "${nowhere}".`,
      )
    })
  })
}

describe.each(DEVICES.filter(({ device, missing }) => !missing && mostProcesses(device).count > 0))(
  'odd arguments on $device',
  ({ device }) => {
    const addon = native()
    const tensor = (dtype: 'f32' | 'i32' = 'f32') => addon.empty([4], dtype, device)
    /** A list whose second element, when it is read, does something first. */
    const list = (first: unknown, meanwhile: (list: unknown[]) => void) => {
      const tensors = [first, undefined]
      Object.defineProperty(tensors, 1, {
        get() {
          meanwhile(tensors)
          return tensor()
        },
      })
      return tensors
    }
    const disposed = () => {
      const gone = tensor()
      addon.dispose(gone)
      return gone
    }
    const join = (...args: unknown[]) => (addon.openCommunicator as (...args: unknown[]) => unknown)(...args)
    const sum = (...args: unknown[]) => (addon.allReduceSum as (...args: unknown[]) => unknown)(...args)
    const pass = (...args: unknown[]) => (addon.broadcast as (...args: unknown[]) => unknown)(...args)
    const end = (...args: unknown[]) => (addon.abortCommunicator as (...args: unknown[]) => unknown)(...args)

    test.each<readonly [(communicator: number) => unknown, string]>([
      [() => addon.communicatorId(device, 2 ** 53), 'communicatorId: size must be a whole number.'],
      [() => join(device, 'id'), 'openCommunicator: rank must be a number.'],
      [() => join(device, 7, 0, 1), 'openCommunicator: id must be a string.'],
      [() => sum('1', []), 'allReduceSum: communicator must be a number.'],
      [() => sum(Number.NaN, []), 'allReduceSum: communicator must be a whole number.'],
      [(communicator) => sum(communicator, tensor()), 'allReduceSum: tensors must be an array of tensors.'],
      [(communicator) => sum(communicator, new Array(2 ** 32 - 1)), 'allReduceSum: tensors is not a tensor.'],
      [(communicator) => sum(communicator, [disposed()]), 'allReduceSum: tensors was disposed;'],
      [(communicator) => pass(communicator, disposed(), 0), 'broadcast: tensor was disposed;'],
      [(communicator) => pass(communicator, tensor('i32'), 0), 'broadcast: the tensor is i32; expected f32.'],
      [(communicator) => pass(communicator, tensor(), -1), 'broadcast: root is -1; expected 0 to 0.'],
      [(communicator) => pass(communicator, tensor(), 0.5), 'broadcast: root must be a whole number.'],
      [(communicator) => end(communicator), 'abortCommunicator: reason must be a string.'],
      [
        (communicator) =>
          sum(
            communicator,
            list(tensor(), () => addon.closeCommunicator(communicator)),
          ),
        'allReduceSum: there is no open communicator',
      ],
    ])('%#: %s', async (call, message) => {
      const communicator = await addon.openCommunicator(device, addon.communicatorId(device, 1), 0, 1)
      expect(() => call(communicator)).toThrow(message)
      await addon.synchronize(device)
      addon.closeCommunicator(communicator)
    })

    test('a list that changes while it is read holds what was read', async () => {
      const communicator = await addon.openCommunicator(device, addon.communicatorId(device, 1), 0, 1)
      const first = addon.fromHost(Float32Array.of(1, 2, 3, 4), [4], 'f32', device)
      const alias = addon.view(first, 0, [4])
      sum(
        communicator,
        list(first, (tensors) => {
          addon.dispose(first)
          tensors.push(7)
        }),
      )
      expect([...new Float32Array(await addon.read(alias))]).toEqual([1, 2, 3, 4])
      addon.closeCommunicator(communicator)
      addon.closeCommunicator(communicator)
      addon.abortCommunicator(communicator, 'it is closed.')
      await addon.synchronize(device)
    })
  },
)

test.skipIf(!isShim)('a tensor of another device is refused', async () => {
  const addon = native()
  const communicator = await addon.openCommunicator('cuda:0', addon.communicatorId('cuda:0', 1), 0, 1)
  const elsewhere = addon.empty([2], 'f32', 'cpu')
  expect(() => addon.allReduceSum(communicator, [elsewhere])).toThrow(
    'a tensor is on cpu, and the communicator is of cuda:0.',
  )
  addon.closeCommunicator(communicator)
})
