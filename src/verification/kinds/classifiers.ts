/** `formula.inception-fid` and `resnet-cifar.forward`: networks whose features images are compared by. */
import { join } from 'node:path'
import * as z from 'zod'
import { INCEPTION_SIZE, InceptionV3 } from '../../models/inception.ts'
import { ResNetCifar, resNetCifarConfig, resNetCifarState } from '../../models/resnet-cifar.ts'
import { openWeights } from '../../models/weights-file.ts'
import { averageOfPixels } from '../../tensor/ops/conv2d.ts'
import { channelsFirst, channelsLast } from '../../tensor/ops/layout.ts'
import { normalizeImages, resizePlanes } from '../../tensor/ops/pixels.ts'
import { scope } from '../../tensor/scope.ts'
import { formulaSource, readFormulaTable } from '../formula.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import type { Runner } from './kind.ts'
import { loadModel } from './load-model.ts'
import { photos } from './photos.ts'

const inceptionArguments = z.object({ formula: z.string() })

/** Outputs `pool_C`: pytorch-fid's outputs of C channels, averaged over their pixels. Its input is x/255, resized, then 2x − 1. */
export const formulaInception: Runner = async function* (file, device) {
  const { formula } = file.args(inceptionArguments)
  const table = await readFormulaTable(file.set, formula)
  using model = await loadModel(file.set, new InceptionV3(device), formulaSource(table, formula))
  using planes = await photos(file, 'images_u8', device)
  using seen = new ObservedTensors()
  scope(() => {
    // Interpolation is an average, so that it may come behind the change of range.
    const signed = normalizeImages(planes, { divisor: 127.5, mean: [1, 1, 1], std: [1, 1, 1] })
    const resized = resizePlanes(signed, INCEPTION_SIZE, INCEPTION_SIZE, { filter: 'bilinear' })
    const { features } = model.forward(channelsLast(resized), (name, x) => {
      seen.observe(name, averageOfPixels(x))
    })
    seen.observe('block3', features)
  })
  for (const [name, output] of Object.entries({ pool_64: 0, pool_192: 1, pool_768: 2, pool_2048: 3 })) {
    if (Object.hasOwn(file.tensors, name)) yield await file.compare(name, seen.get(`block${output}`)!)
  }
}

const resNetArguments = z.object({ weights: z.array(z.string()).length(1) })

export const resNetCifarForward: Runner = async function* (file, device) {
  const { weights } = file.args(resNetArguments)
  await using opened = await openWeights(join(file.set.directory, weights[0]!))
  const state = resNetCifarState(opened)
  using model = await loadModel(file.set, new ResNetCifar(resNetCifarConfig(state), device), state)
  using planes = await photos(file, 'images_u8', device)
  using seen = new ObservedTensors()
  scope(() => {
    const { layer3, logits } = model.forward(planes)
    seen.observe('layer3', channelsFirst(layer3))
    seen.observe('logits', logits)
  })
  for (const name of ['layer3', 'logits']) {
    if (Object.hasOwn(file.tensors, name)) yield await file.compare(name, seen.get(name)!)
  }
}
