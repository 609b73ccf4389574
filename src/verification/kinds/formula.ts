/** `formula.*`: models at full size whose weights follow formula-v1. */
import * as z from 'zod'
import { sinCosPositions } from '../../models/positions.ts'
import { SiT, type SiTConfig } from '../../models/sit.ts'
import { tokenGrid } from '../../models/transformer-config.ts'
import type { Device } from '../../tensor/device.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'
import { formulaSource, readFormulaTable } from '../formula.ts'
import type { GoldenFile } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import { everyNth } from './every-nth.ts'
import type { Runner } from './kind.ts'
import { loadModel } from './load-model.ts'
import { observeForward } from './sit.ts'
import { sitConfigArgument } from './sit-arguments.ts'

const formulaSitArguments = z.object({ ...sitConfigArgument, formula: z.string() })

export const formulaSit: Runner = async function* (file, device) {
  const { config, formula } = file.args(formulaSitArguments)
  using model = await formulaModel(file, config, formula, device)
  using seen = new ObservedTensors((name) => /^(prediction|projections\.\d+|blocks\.\d+)$/.test(name))
  await observeForward(file, model, seen)
  for (const [name, spec] of Object.entries(file.tensors)) {
    const projection = /^zs\.(\d+)(\.tokens)?$/.exec(name)
    if (name === 'out') {
      yield await file.compare(name, seen.get('prediction')!)
    } else if (/^blocks_first\d+tokens$/.test(name)) {
      yield await file.compare(name, await firstTokens(seen, config.depth, spec.shape[2]!))
    } else if (projection) {
      const values = seen.get(`projections.${projection[1]}`)
      if (values) yield await file.compare(name, everyNth(await values.toHost(), 1, spec))
    }
  }
}

/** The SiT with generated weights; its position table is the fixed one. */
async function formulaModel(file: GoldenFile, config: SiTConfig, formula: string, device: Device): Promise<SiT> {
  const table = await readFormulaTable(file.set, formula)
  const [rows, columns] = tokenGrid(config)
  const values = () => sinCosPositions(config.hidden, rows, columns)
  const positions = { shape: [1, rows * columns, config.hidden], values }
  return await loadModel(
    file.set,
    SiT.fromConfig(config, device),
    formulaSource(table, formula, { pos_embed: positions }),
  )
}

/** The first tokens that leave every block, [depth, N, count, D]. */
async function firstTokens(seen: ObservedTensors, depth: number, count: number): Promise<HostTensor> {
  const blocks: Float32Array[] = []
  let batch = 0
  let width = 0
  for (let block = 0; block < depth; block++) {
    const hidden = await seen.get(`blocks.${block}`)!.toHost()
    const values = toFloat32(hidden)
    const [n, tokens, d] = hidden.shape as [number, number, number]
    const first = new Float32Array(n * count * d)
    for (let b = 0; b < n; b++) first.set(values.subarray(b * tokens * d, (b * tokens + count) * d), b * count * d)
    blocks.push(first)
    batch = n
    width = d
  }
  const all = new Float32Array(blocks.length * batch * count * width)
  blocks.forEach((first, block) => {
    all.set(first, block * first.length)
  })
  return hostFloat32(all, [blocks.length, batch, count, width])
}
