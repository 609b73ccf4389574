// One of several processes that take a folder at one instant: by messages, each answered with what came of it.
import { FolderInUse } from '../../../src/formats/folder-in-use.ts'

export type Request =
  | {
      readonly take: string
      /** By Date.now(). */
      readonly at: number
      /** Whether the file system has hard links. */
      readonly hasLinks: boolean
    }
  /** Gives the folder back where it was taken. */
  | { readonly give: true }

/** Why a folder was not taken, where it was not. */
export interface Answer {
  readonly refused?: string
}

async function noLink(): Promise<never> {
  throw Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM', syscall: 'link' })
}

let taken: FolderInUse | undefined

async function answer(request: Request): Promise<Answer> {
  if ('give' in request) {
    await taken?.[Symbol.asyncDispose]()
    taken = undefined
    return {}
  }
  // A timer would be some milliseconds late.
  while (Date.now() < request.at);
  try {
    taken = await FolderInUse.take(request.take, request.hasLinks ? {} : { makeLink: noLink })
    return {}
  } catch (error) {
    return { refused: (error as Error).message }
  }
}

process.on('message', async (request: Request) => process.send!(await answer(request)))
process.send!({})
