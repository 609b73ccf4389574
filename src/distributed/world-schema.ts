import { anObjectWith } from '../configuration/callbacks.ts'
import type { World } from './world.ts'

/** The schema of a World among a job's options, told by the part of it that the job takes. */
export const aWorld = (part: keyof World) => anObjectWith(part, 'a World, as withProcesses gives it')
