import type { LiveMessage } from '../live-message.ts'
import type { ReportPage } from './page.ts'

/** How long it takes until what could not be fetched is fetched again. */
const RETRY_MS = 2000

/** Keeps a page that `repa watch` serves in step with the runs. `cursor` is what the page shows already. */
export function follow(page: ReportPage, cursor: string): void {
  const state = document.querySelector('.live')!
  /** What the server could not read. */
  let problem = ''
  /** Why the page is behind what it was told, which the server will not say again. */
  let failure = ''
  /** All of it, or all but the curves' points. */
  let behind: { readonly whole: boolean } | undefined
  let isToRetry = false
  let isConnected = false
  const say = () => {
    const trouble = failure || problem || (isConnected ? '' : 'Not connected; trying again')
    state.textContent = trouble || 'Live'
    state.classList.toggle('trouble', trouble !== '')
  }
  const refresh = async (whole: boolean) => {
    behind = { whole: whole || (behind?.whole ?? false) }
    const response = await fetch('/', { cache: 'no-store' })
    if (!response.ok) throw new Error(`the server answers ${response.status}`)
    const other = new DOMParser().parseFromString(await response.text(), 'text/html')
    page.replaceParts(other, behind.whole ? [] : ['curves'])
    behind = undefined
    failure = ''
    say()
  }
  const catchUp = async () => {
    if (behind) await refresh(behind.whole)
  }
  // One after the other: points that come while the page is fetched belong to what is fetched.
  let queue = Promise.resolve()
  const enqueue = (work: () => Promise<void>) => {
    queue = queue.then(work).catch((error: unknown) => {
      behind ??= { whole: true }
      failure = `The page could not be brought up to date: ${error instanceof Error ? error.message : error}`
      say()
      if (isToRetry) return
      isToRetry = true
      setTimeout(() => {
        isToRetry = false
        enqueue(catchUp)
      }, RETRY_MS)
    })
  }
  // The browser connects again by itself and says by the last event's id how far it was.
  const events = new EventSource(`/events?cursor=${encodeURIComponent(cursor)}`)
  events.addEventListener('open', () => {
    isConnected = true
    say()
  })
  events.addEventListener('error', () => {
    isConnected = false
    say()
  })
  events.addEventListener('message', ({ data }) => {
    const message = JSON.parse(data as string) as LiveMessage
    enqueue(async () => {
      if (message.kind === 'problem') {
        problem = message.sentence
        say()
      } else if (message.kind === 'page') {
        await refresh(message.whole)
      } else {
        await catchUp()
        page.append(message.logged, message.first, message.last)
        for (const [name, markup] of Object.entries(message.parts)) page.setPart(name, markup)
      }
    })
  })
  say()
}
