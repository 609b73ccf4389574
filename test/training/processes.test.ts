/** Processes that share every step's batch: on the CPU, and on the shim's GPU as if each had one. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { freePort } from '../distributed/free-port.ts'
import { deviceOfProcess, mostProcesses } from '../distributed/gpus-of-processes.ts'
import { startNode } from '../native/run-program.ts'
import { DEVICES, isShim } from '../tensor/devices.ts'
import type { Answer, Report, Request } from './programs/shared-training.ts'
import { expectSameStep } from './same-step.ts'
import { BATCH, CASES, digestOf, makeFirstStep, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const root = join(import.meta.dirname, '../..')

/**
 * Starts `size` processes as torchrun would, and gives the answers of each. On the shim every exchange begins so late that what does not wait
 * for it reads what was there before.
 */
async function ask(size: number, requests: readonly Request[]): Promise<Answer[][]> {
  return Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const words = ['--import', join(root, 'scripts/run-typescript.mjs')]
      const program = join(import.meta.dirname, 'programs/shared-training.ts')
      const place = {
        MASTER_ADDR: '127.0.0.1',
        RANK: String(rank),
        LOCAL_RANK: String(rank),
        REPA_THREADS: '1',
        REPA_FAKE_NCCL_DELAY: '2000',
      }
      const own = requests.map((request) => ({ ...request, device: deviceOfProcess(request.device, rank) }))
      const { status, stdout, stderr } = await startNode([...words, program, JSON.stringify(own)], place)
      expect({ rank, status, stderr }).toEqual({ rank, status: 0, stderr: '' })
      return JSON.parse(stdout) as Answer[]
    }),
  )
}

/** A training's table, and in how many processes and passes it is made. */
const sharingsOf = (most: number) => [
  ...CASES.map(({ name }, table) => ({ name, table, processes: 2, accumulate: 1 })),
  ...(isShim || most < 4 ? [] : [{ name: 'SiT with REPA', table: 1, processes: 4, accumulate: 1 }]),
  ...(isShim ? [] : [{ name: 'SiT with REPA', table: 1, processes: 2, accumulate: 2 }]),
]

for (const { device, missing } of DEVICES) {
  const { count: most, lacking = 'there is one GPU' } = missing ? { count: 0 } : mostProcesses(device)
  describe.skipIf(missing || most < 2)(`several processes on ${device}${most < 2 ? ` (${lacking})` : ''}`, () => {
    const sharings = sharingsOf(most)
    const fp32 = { precision: 'fp32' } as const
    const bf16 = { precision: 'bf16' } as const
    const fp16 = { precision: 'fp16', accumulate: 2 } as const
    const base = { processes: 2, table: 1, options: fp32 } as const
    const requested: Readonly<Record<string, Omit<Request, 'device' | 'data' | 'port'>>> = {
      ...Object.fromEntries(
        sharings.map(({ table, processes, accumulate }, i) => [
          `sharing ${i}`,
          { ...base, table, processes, options: { ...fp32, accumulate } },
        ]),
      ),
      again: base,
      'again at once': { ...base, atOnce: true },
      'stopped by 0': { ...base, stop: { rank: 0, after: 5 } },
      'stopped by 1': { ...base, stop: { rank: 1, after: 5 } },
      disagree: { ...base, disagree: true },
      ...(device !== 'cpu' && {
        bf16: { ...base, options: bf16 },
        graph: { ...base, options: { ...bf16, cudaGraph: true } },
        'kept graph': { ...base, options: { ...bf16, cudaGraph: true }, keepsTrainer: true },
        'bf16 at once': { ...base, options: bf16, atOnce: true },
        fp16: { ...base, options: fp16 },
        'fp16 at once': { ...base, options: fp16, atOnce: true },
      }),
    }
    const data = mkdtempSync(join(tmpdir(), 'repa-processes-'))
    const runs = mkdtempSync(join(tmpdir(), 'repa-processes-runs-'))
    afterAll(() => {
      for (const folder of [data, runs]) rmSync(folder, { recursive: true, force: true })
    })
    /** A training by one process, of as many steps as the others make. */
    const alone = async (restores?: string) => {
      const table = CASES[base.table]!
      using model = modelOf(table, device)
      await using trainer = await tinyTrainer(model, data, { ...table.options, ...fp32 })
      if (restores !== undefined) await trainer.restore(restores)
      await steps(trainer, 3)
      const [checkpoint, digest] = [await trainer.save(join(runs, 'alone')), await digestOf(trainer)]
      return { checkpoint, digest, step: trainer.step }
    }
    let ofOne: Awaited<ReturnType<typeof alone>>
    /** By what was requested, and by rank. */
    const answers = new Map<string, Answer[]>()

    beforeAll(async () => {
      await captionedDataset(2 * BATCH, data)
      ofOne = await alone()
      const all: typeof requested = {
        ...requested,
        saved: { ...base, saves: join(runs, 'shared') },
        restored: { ...base, restores: ofOne.checkpoint },
      }
      const names = Object.keys(all)
      const requests: Request[] = []
      for (const name of names) requests.push({ ...all[name]!, device, data, port: await freePort() })
      const most = Math.max(...requests.map(({ processes }) => processes))
      const answered = await ask(most, requests)
      for (const [i, name] of names.entries())
        answers.set(name, answered.map((own) => own[i]!).slice(0, requests[i]!.processes))
    })

    const reports = (name: string): Report[] =>
      answers.get(name)!.map((answer) => {
        if (!answer || !('report' in answer)) throw new Error(`${name}: ${JSON.stringify(answer)}`)
        return answer.report
      })

    const lasting = (name: string) => reports(name).map(({ digest, losses }) => ({ digest, losses }))

    test.each(sharings.map((sharing, i) => ({ ...sharing, i })))(
      'a step of $name by $processes, in $accumulate passes each, is that of one, and all end with the same bits',
      async ({ table, i }) => {
        const all = reports(`sharing ${i}`)
        expect(all.map(({ rank }) => rank)).toEqual(all.map((_, rank) => rank))
        expect(new Set(lasting(`sharing ${i}`).map((one) => JSON.stringify(one))).size).toBe(1)
        const { step, gradients } = all[0]!.first
        const shared = { step, gradients: new Float32Array(Uint8Array.from(Buffer.from(gradients, 'base64')).buffer) }
        expectSameStep(shared, await makeFirstStep(CASES[table]!, data, { ...fp32, device }))
      },
    )

    test('two runs give the same bits', () => {
      expect(lasting('again')).toEqual(lasting('sharing 1'))
    })

    test.each(device === 'cpu' ? ['again'] : ['again', 'bf16', 'fp16'])(
      'exchanged after the backward pass and after the step, the bits are the same (%s)',
      (name) => {
        expect(lasting(name)).toEqual(lasting(`${name} at once`))
      },
    )

    test.skipIf(device === 'cpu')('as a CUDA graph, in bf16, the bits are those without', () => {
      expect(lasting('graph')).toEqual(lasting('bf16'))
      // What was captured and never disposed of does not keep the processes from parting.
      expect(lasting('kept graph')).toEqual(lasting('bf16'))
    })

    test('a checkpoint of several is one of one, and the other way round', async () => {
      const [saved] = reports('saved')
      expect(await alone(join(runs, 'shared/checkpoints/0000003'))).toMatchObject({ digest: saved!.digest, step: 3 })
      for (const { digest } of reports('restored')) expect(digest).toBe(ofOne.digest)
    })

    test.each([0, 1])('when process %d is asked to stop, all stop after the same step', (rank) => {
      const [leader, follower] = reports(`stopped by ${rank}`)
      expect(leader!.stoppedAt).toBeGreaterThanOrEqual(5)
      expect(leader!.stoppedAt).toBeLessThan(20)
      expect(follower!.stoppedAt).toBe(leader!.stoppedAt)
    })

    test('processes with other settings are refused, in a sentence', () => {
      const words = 'it has seed 5 where process 0 has 0; start all processes with the same command on the same files.'
      expect(answers.get('disagree')).toEqual([{ failed: `process 1 of 2: ${words}` }, { failed: words }])
    })
  })
}
