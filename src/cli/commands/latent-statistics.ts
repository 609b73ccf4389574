import { access, constants } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { MeasuredLatents } from '../../data/measure-latents.ts'
import { defineCommand } from '../command.ts'
import { endingIn } from '../option.ts'
import type { Progress } from '../progress.ts'

export const latentStatisticsCommand = defineCommand({
  name: 'latent-statistics',
  summary: "measure an autoencoder's latents by channel on prepared images, to standardise them",
  description:
    "For an AutoencoderKL of other than four channels that comes without a scale: mean and standard deviation of every channel, over images, places and the encoder's own noise, as LightningDiT standardises latents. latents_stats.safetensors is put beside the weights, where 'repa prepare', 'train' and 'sample' find it. DATA is prepared images, with latents or without. What has a scale already is refused.",
  options: {
    autoencoder: { type: 'string', placeholder: 'FILE', description: 'its file or folder', required: true },
    data: { type: 'string', placeholder: 'DATA', description: 'prepared images', required: true },
    images: {
      type: 'integer',
      min: 1,
      description: "at most so many of them, drawn by --seed [LightningDiT's 10,000]",
    },
    out: {
      type: 'string',
      placeholder: 'FILE',
      ...endingIn('.safetensors'),
      description: 'file to write [latents_stats.safetensors beside the weights]',
    },
    autoencoderTile: {
      type: 'integer',
      min: 8,
      placeholder: 'N',
      description: 'encode in blended tiles of N latent elements: bounds memory, not exact [the whole image]',
    },
  },
  examples: [
    {
      command: 'repa latent-statistics --autoencoder my-vae --data data/photos256',
      description: "then 'repa prepare data/photos256 --out data/photos256 --autoencoder my-vae' adds the latents",
    },
  ],
  async run({ autoencoder: path, data, images, out: file, autoencoderTile: tile }, context) {
    const { device, out, signal, progress, seed = 0 } = context
    const [
      { measureLatents },
      { isThere },
      { makeFolder },
      { writeStatistics, statisticsPath },
      { loadAutoencoder },
      { resolveDevice },
    ] = await Promise.all([
      import('../../data/measure-latents.ts'),
      import('../../formats/if-there.ts'),
      import('../../formats/make-folder.ts'),
      import('../../formats/latent-statistics.ts'),
      import('../../models/load-autoencoder.ts'),
      import('../../tensor/device.ts'),
    ])
    const written = file ?? (await statisticsPath(path))
    if (await isThere(written)) {
      throw new Error(`${written} exists already; remove it, or choose another name.`)
    }
    const encoder = await loadAutoencoder(path, {
      device: resolveDevice(device),
      half: 'encoder',
      tile,
      unscaled: true,
    })
    let bar: Progress | undefined
    let measured: MeasuredLatents
    try {
      // Before the images, which may take hours.
      await makeFolder(dirname(written))
      await access(dirname(written), constants.W_OK)
      measured = await measureLatents({
        data,
        encoder,
        images,
        seed,
        signal,
        onProgress: (done, total) => {
          bar ??= progress({ label: 'latents', unit: 'images', total })
          bar.update(done)
        },
      })
    } finally {
      bar?.end()
      encoder.dispose()
    }
    const { mean, std } = measured
    await writeStatistics(written, measured, { autoencoder: encoder.name, images: String(measured.images) })
    const span = (values: Float32Array) =>
      `${Math.min(...values).toPrecision(3)} to ${Math.max(...values).toPrecision(3)}`
    out.line(
      `${written}: ${mean.length} channels of ${encoder.name} over ${measured.images} images, means ${span(mean)}, standard deviations ${span(std)}`,
    )
    out.json({ out: written, autoencoder: encoder.name, images: measured.images, mean: [...mean], std: [...std] })
  },
})
