/** A worker thread of `TrainingImagePool`: renders the images that it is sent. */
import { parentPort } from 'node:worker_threads'
import { ImageDecodeError } from './image-decoding.ts'
import { renderTrainingImage, type TrainingImageOptions } from './training-image.ts'

export interface RenderRequest {
  readonly id: number
  readonly bytes: Uint8Array
  readonly name: string
  readonly options: TrainingImageOptions
}

/** The file, or why there is none: `unreadable` is the image's fault. */
export type Rendered =
  | { readonly png: Uint8Array | undefined }
  | { readonly unreadable: string }
  | { readonly failure: unknown }

export interface RenderReply {
  /** The request's. */
  readonly id: number
  readonly rendered: Rendered
}

async function render({ bytes, name, options }: RenderRequest): Promise<Rendered> {
  try {
    return { png: await renderTrainingImage(bytes, name, options) }
  } catch (failure) {
    return failure instanceof ImageDecodeError ? { unreadable: failure.reason } : { failure }
  }
}

parentPort?.on('message', (request: RenderRequest) => {
  void render(request).then((rendered) => {
    const png = 'png' in rendered ? rendered.png : undefined
    const reply: RenderReply = { id: request.id, rendered }
    parentPort!.postMessage(reply, png ? [png.buffer as ArrayBuffer] : [])
  })
})
