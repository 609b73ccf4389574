import type { LiveMessage } from '../live-message.ts'
import type { ReportPage } from './page.ts'

/** Keeps a page that `repa watch` serves in step with the runs. `cursor` is what the page shows already. */
export function follow(page: ReportPage, cursor: string): void {
  const state = document.querySelector('.live')!
  let problem = ''
  let isConnected = false
  const say = () => {
    state.textContent = problem !== '' ? problem : isConnected ? 'Live' : 'Not connected; trying again'
    state.classList.toggle('trouble', problem !== '' || !isConnected)
  }
  const refresh = async (whole: boolean) => {
    const response = await fetch('/', { cache: 'no-store' })
    const other = new DOMParser().parseFromString(await response.text(), 'text/html')
    page.replaceParts(other, whole ? [] : ['curves'])
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
  let queue = Promise.resolve()
  events.addEventListener('message', ({ data }) => {
    const message = JSON.parse(data as string) as LiveMessage
    // One after the other: points that come while the page is fetched belong to what is fetched.
    queue = queue
      .then(async () => {
        if (message.kind === 'points') {
          page.append(message.logged, message.first, message.last)
          for (const [name, markup] of Object.entries(message.parts)) page.setPart(name, markup)
        } else if (message.kind === 'page') {
          await refresh(message.whole)
        } else {
          problem = message.sentence
          say()
        }
      })
      .catch((error: unknown) => {
        problem = `The page could not be brought up to date: ${error instanceof Error ? error.message : error}`
        say()
      })
  })
  say()
}
