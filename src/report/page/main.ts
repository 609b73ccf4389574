import { follow } from './live.ts'
import { ReportPage } from './page.ts'

document.documentElement.classList.add('scripted')
const page = new ReportPage()
const { cursor } = document.body.dataset
if (cursor !== undefined) follow(page, cursor)
