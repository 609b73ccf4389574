import { nearest } from '../configuration/nearest.ts'
import { DINOV2_PRESETS, type DINOv2Preset } from '../models/vit-presets.ts'
import type { Device } from '../tensor/device.ts'
import { loadDINOv2 } from './dinov2.ts'
import type { Encoder } from './encoder.ts'
import { ENCODER_NAMES, MISSING_ENCODER_FAMILIES } from './encoder-names.ts'
import { HogEncoder } from './hog.ts'

export interface LoadEncoderOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** Of a file of no standard size that does not state its number of heads. */
  readonly heads?: number
  /** Is told, in a sentence, where the file is usable but not what the name promises. */
  readonly notice?: (message: string) => void
}

/**
 * A frozen encoder to align with: the built-in `hog`, or a DINOv2 from the file that its authors publish (`.pth`), a checkpoint
 * of their training code, or the same tensors as `.safetensors`. Every size follows from the tensors. A file of no standard
 * size is accepted under any DINOv2 name, with a notice; the file of another standard size than the name's is an error.
 *
 * @throws Error for an unknown name, a missing or surplus file, and a file that does not fit; what the file readers throw
 */
export async function loadEncoder(name: string, file?: string, options: LoadEncoderOptions = {}): Promise<Encoder> {
  const { device = 'cpu', heads, notice = () => {} } = options
  if (name === 'hog') {
    if (file !== undefined) throw new Error(`The encoder hog is built in and takes no file; ${file} was given.`)
    return new HogEncoder()
  }
  if (!isDINOv2(name)) throw new Error(unknownEncoder(name))
  if (file === undefined) {
    throw new Error(`The encoder ${name} needs the file of its weights; the published one is ${publishedFile(name)}.`)
  }
  return loadDINOv2(name, file, { device, heads, notice })
}

function isDINOv2(name: string): name is DINOv2Preset {
  return Object.hasOwn(DINOV2_PRESETS, name)
}

function unknownEncoder(name: string): string {
  const present = `The encoders are ${ENCODER_NAMES.join(', ')}.`
  const family = MISSING_ENCODER_FAMILIES.find((missing) => name.toLowerCase().startsWith(`${missing}-`))
  if (family !== undefined) return `The encoder ${name} is not supported yet. ${present}`
  const right = nearest(name, ENCODER_NAMES)
  return `There is no encoder "${name}"${right ? `; did you mean ${right}?` : '.'} ${present}`
}

/** `dinov2reg-vit-b` → …/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth */
function publishedFile(name: DINOv2Preset): string {
  const model = `dinov2_vit${name.at(-1)}14`
  const registers = name.startsWith('dinov2reg-') ? '_reg4' : ''
  return `https://dl.fbaipublicfiles.com/dinov2/${model}/${model}${registers}_pretrain.pth`
}
