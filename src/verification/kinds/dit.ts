/** `dit.forward`: DiT (models.py), also with classifier-free guidance of its first three channels. */
import * as z from 'zod'
import { guide } from '../../tensor/ops/diffusion.ts'
import type { Runner } from './kind.ts'
import { ditArguments, forwardInputs, loadDiT, predict } from './transformer-arguments.ts'

export const ditForward: Runner = async function* (file, device) {
  const args = file.args(z.object({ ...ditArguments, cfg_scale: z.number().default(1) }))
  using model = await loadDiT(file.set, args, device)
  const { once, twice } = await forwardInputs(file)
  if ('out' in file.tensors) {
    using out = predict(model, once)
    yield await file.compare('out', out)
  }
  if ('out_cfg' in file.tensors) {
    using both = predict(model, twice)
    using guided = guide(both, args.cfg_scale, model.guidedChannels)
    yield await file.compare('out_cfg', guided)
  }
}
