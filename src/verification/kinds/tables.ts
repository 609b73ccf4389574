/** `table.*`: fixed tables of positions and of timestep features. */
import { sinCosPositions } from '../../models/positions.ts'
import { hostFloat32 } from '../../tensor/host-tensor.ts'
import { timestepEmbedding } from '../../tensor/ops/embedding.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import type { Runner } from './kind.ts'

/** Outputs `pos_WIDTH_SIDE`: the sine-cosine table of a square grid. */
export const tablePosEmbed: Runner = async function* (file) {
  for (const name of Object.keys(file.tensors)) {
    const match = /^pos_(\d+)_(\d+)$/.exec(name)
    if (!match) continue
    const [width, side] = [Number(match[1]), Number(match[2])]
    yield await file.compare(name, hostFloat32(sinCosPositions(width, side, side), [side * side, width]))
  }
}

/** Outputs `emb_WIDTH` of the timesteps `t`. */
export const tableTimestep: Runner = async function* (file, device) {
  const t = await file.read('t')
  for (const name of Object.keys(file.tensors)) {
    const match = /^emb_(\d+)$/.exec(name)
    if (!match) continue
    using seen = new ObservedTensors()
    scope(() => seen.observe(name, timestepEmbedding(Tensor.fromHostTensor(t, device), Number(match[1]))))
    yield await file.compare(name, seen.get(name)!)
  }
}
