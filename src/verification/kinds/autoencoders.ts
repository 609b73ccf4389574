/** `autoencoder-kl.forward`, `formula.autoencoder-kl` and `taesd.forward`: photos to latents and latents to photos. */
import { join } from 'node:path'
import * as z from 'zod'
import { AutoencoderKL } from '../../models/autoencoder-kl.ts'
import { autoencoderKLState, configOfArguments, diffusersConfigSchema } from '../../models/autoencoder-kl-weights.ts'
import { TaesdDecoder, TaesdEncoder, taesdConfig, taesdHalf } from '../../models/taesd.ts'
import { openWeights } from '../../models/weights-file.ts'
import type { StateSource } from '../../nn/state-dict.ts'
import type { Device } from '../../tensor/device.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'
import { samplePosterior } from '../../tensor/ops/interpolant.ts'
import { posteriorMoments } from '../../tensor/ops/latents.ts'
import { imageInput } from '../../tensor/ops/pixels.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { formulaSource, readFormulaTable } from '../formula.ts'
import type { GoldenFile } from '../golden-set.ts'
import type { Runner } from './kind.ts'
import { loadModel } from './load-model.ts'
import { photos } from './photos.ts'

const scaleArgument = { latents_scale: z.number().positive().default(0.18215) }
const configArgument = { config: diffusersConfigSchema }
const storedArguments = z.object({ ...configArgument, ...scaleArgument, params: z.string() })
const formulaArguments = z.object({ ...configArgument, ...scaleArgument, formula: z.string() })

export const autoencoderKLForward: Runner = async function* (file, device) {
  const { config, params, latents_scale: scale } = file.args(storedArguments)
  await using weights = file.set.file(params)
  using model = await loadModel(
    file.set,
    AutoencoderKL.fromConfig(configOfArguments(config, `${file.path}, args`), device),
    weights.state().then(autoencoderKLState),
  )
  yield* compareAutoencoder(file, model, scale)
}

export const formulaAutoencoderKL: Runner = async function* (file, device) {
  const { config, formula, latents_scale: scale } = file.args(formulaArguments)
  const table = await readFormulaTable(file.set, formula)
  using model = await loadModel(
    file.set,
    AutoencoderKL.fromConfig(configOfArguments(config, `${file.path}, args`), device),
    autoencoderKLState(formulaSource(table, formula)),
  )
  yield* compareAutoencoder(file, model, scale)
}

async function* compareAutoencoder(file: GoldenFile, model: AutoencoderKL, scale: number) {
  const { device } = model
  const has = (name: string) => Object.hasOwn(file.tensors, name)
  if (has('image_u8')) {
    using pixels = await photos(file, 'image_u8', device)
    using images = imageInput(pixels, { divisor: 127.5, mean: 1 })
    using parameters = model.encode(images)
    using moments = posteriorMoments(parameters)
    if (has('mean_std')) yield await file.compare('mean_std', moments)
    if (has('z_sampled')) {
      using noise = Tensor.fromHostTensor(await file.read('eps'), device)
      using sampled = samplePosterior(moments, noise, scale, 0)
      yield await file.compare('z_sampled', sampled)
    }
  }
  if (has('decoded')) {
    using latents = Tensor.fromHostTensor(await file.read('z'), device)
    using decoded = model.decode(latents)
    yield await file.compare('decoded', decoded)
  }
}

const taesdArguments = z.object({ weights: z.array(z.string()).min(1) })

export const taesdForward: Runner = async function* (file, device) {
  const { weights } = file.args(taesdArguments)
  using halves = await loadHalves(
    file,
    weights.map((path) => join(file.set.directory, path)),
    device,
  )
  const { encoder, decoder } = halves
  let reconstruction: HostTensor | undefined
  using pixels = await photos(file, 'image_u8', device)
  if (encoder) {
    using images = imageInput(pixels, { divisor: 255, mean: 0 })
    using latents = encoder.encode(images)
    yield await file.compare('latent', latents)
    if (decoder) {
      using decoded = decoder.decode(latents)
      reconstruction = await decoded.toHost()
      yield await file.compare('decoded', reconstruction)
    }
  }
  if (reconstruction && Object.hasOwn(file.tensors, 'psnr_db')) {
    const psnr = psnrOf(await pixels.dataAs('u8'), reconstruction)
    yield await file.compare('psnr_db', hostFloat32(Float32Array.of(psnr), []))
  }
}

async function loadHalves(file: GoldenFile, paths: readonly string[], device: Device) {
  let encoder: TaesdEncoder | undefined
  let decoder: TaesdDecoder | undefined
  const load = async <M extends TaesdEncoder | TaesdDecoder>(model: M, source: StateSource) =>
    loadModel(file.set, model, source)
  for (const path of paths) {
    await using source = await openWeights(path)
    const half = taesdHalf(source.names)
    if (half === undefined) throw new Error(`${path} holds neither a TAESD encoder nor a decoder.`)
    const config = taesdConfig(source, half)
    if (half === 'encoder') encoder = await load(new TaesdEncoder(config, device), source)
    else decoder = await load(new TaesdDecoder(config, device), source)
  }
  return {
    encoder,
    decoder,
    [Symbol.dispose]: () => {
      encoder?.dispose()
      decoder?.dispose()
    },
  }
}

/** Peak signal to noise in dB of images [N, 3, H, W] in [0, 1], clamped, against bytes of that shape. */
function psnrOf(bytes: Uint8Array, images: HostTensor): number {
  let squares = 0
  for (const [i, value] of toFloat32(images).entries()) {
    squares += (Math.min(1, Math.max(0, value)) - bytes[i]! / 255) ** 2
  }
  return -10 * Math.log10(squares / bytes.length)
}
