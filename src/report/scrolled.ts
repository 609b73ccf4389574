import { type Html, html } from './html.ts'

/** Attributes of what is scrolled: keys reach it, and whoever hears the page is told what it is. */
export const scrolled = (label: string): Html => html` tabindex="0" role="group" aria-label="${label}"`
