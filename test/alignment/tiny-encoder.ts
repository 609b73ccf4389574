import { ENCODER_FAMILIES } from '../../src/alignment/encoder-families.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { VisionTransformer } from '../../src/models/vit.ts'

/** Weights of a small encoder of a family: what a file of no published size is used as. */
export async function tinyEncoder(name: string, path: string, seed = 3): Promise<string> {
  const { traits } = ENCODER_FAMILIES.find(({ presets }) => Object.hasOwn(presets, name))!
  using model = VisionTransformer.create({ ...traits, imageSize: 224, hidden: 64, depth: 1, heads: 1 }, { seed })
  const tensors = model.entries.map((entry) => ({
    // As DINOv3's authors call them.
    name: name.startsWith('dinov3-') ? entry.name.replace('register_tokens', 'storage_tokens') : entry.name,
    dtype: 'f32' as const,
    shape: entry.shape,
    data: async () => {
      using view = model.arena.view('weights', entry)
      return (await view.toHost()).data
    },
  }))
  await writeSafetensors(path, tensors)
  return path
}
