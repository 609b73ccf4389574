import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { crc32c, maskedCrc32c } from '../../src/formats/crc32c.ts'
import { FileAccessError, FileFormatError } from '../../src/formats/errors.ts'
import { EventWriter } from '../../src/formats/tensorboard.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { readEvents, type TensorBoardEvent } from './tensorboard-reader.ts'

/** One red pixel. */
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC',
  'base64',
)

async function allEvents(path: string): Promise<TensorBoardEvent[]> {
  const events: TensorBoardEvent[] = []
  for await (const event of readEvents(path)) events.push(event)
  return events
}

const ascending = Uint8Array.from({ length: 32 }, (_, i) => i)
test.each<[string, Uint8Array, number]>([
  // RFC 3720 (iSCSI), appendix B.4.
  ['32 zeros', new Uint8Array(32), 0x8a9136aa],
  ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['0 to 31', ascending, 0x46dd794e],
  ['31 to 0', ascending.toReversed(), 0x113fdb5c],
  // The check value of CRC-32/ISCSI in the catalogue of parametrised CRC algorithms.
  ['123456789', Buffer.from('123456789'), 0xe3069283],
  ['nothing', new Uint8Array(0), 0],
])('CRC-32C of %s', (_, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected)
})

test('the first record is byte for byte what TensorFlow writes', async () => {
  // Wall time 0, "brain.Event:2": length 24, its checksum, the message, its checksum.
  const writer = await EventWriter.create(temporaryFolder(), { now: () => 0 })
  await writer.close()
  const bytes = await readFile(writer.path)
  const message = Buffer.concat([Buffer.from([9, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, 13]), Buffer.from('brain.Event:2')])
  expect(bytes.length).toBe(12 + 24 + 4)
  expect(bytes.readBigUInt64LE()).toBe(24n)
  // The masked checksum of the length 24, as it stands at the start of event files everywhere.
  expect(bytes.subarray(8, 12).toString('hex')).toBe('a37f4b22')
  expect(bytes.subarray(12, 36).equals(message)).toBe(true)
  expect(bytes.readUInt32LE(36)).toBe(maskedCrc32c(message))
})

test('files of one second have names in the order in which they were made', async () => {
  const folder = temporaryFolder()
  const made: string[] = []
  // Past 9 at least once.
  for (let i = 0; i < 11; i++) {
    const writer = await EventWriter.create(folder, { now: () => 1_700_000_000 })
    await writer.close()
    made.push(basename(writer.path))
  }
  expect((await readdir(folder)).sort()).toEqual(made)
})

test('scalars, images and text are read as they were written', async () => {
  const folder = join(temporaryFolder(), 'deep', 'run')
  let clock = 1_700_000_000.25
  const writer = await EventWriter.create(folder, { now: () => clock++, host: 'a host/name' })
  expect(basename(writer.path)).toMatch(/^events\.out\.tfevents\.1700000000\.a_host_name\.\d+\.\d+\.v2$/)
  writer.scalar('loss/total', 0.5, 1)
  writer.scalar('loss/total', Number.NaN, 2)
  writer.scalar('loss/total', Number.NEGATIVE_INFINITY, 2 ** 40)
  writer.scalar('größe', 0.1, -1)
  writer.image('samples', png, 3)
  writer.text('config', '{"lr": 1e-4} ✓', 0)
  await writer.flush()
  expect((await allEvents(writer.path)).length).toBe(7)
  writer.scalar('late', 1, 4)
  await writer.close()

  const events = await allEvents(writer.path)
  expect(events.map(({ wallTime }) => wallTime)).toEqual(events.map((_, i) => 1_700_000_001.25 + i))
  expect(events.map(({ step, fileVersion, values }) => [step, fileVersion ?? values])).toEqual([
    [0, 'brain.Event:2'],
    [1, [{ kind: 'scalar', tag: 'loss/total', value: 0.5 }]],
    [2, [{ kind: 'scalar', tag: 'loss/total', value: Number.NaN }]],
    [2 ** 40, [{ kind: 'scalar', tag: 'loss/total', value: Number.NEGATIVE_INFINITY }]],
    [-1, [{ kind: 'scalar', tag: 'größe', value: Math.fround(0.1) }]],
    [3, [{ kind: 'image', tag: 'samples', width: 1, height: 1, png: new Uint8Array(png) }]],
    [0, [{ kind: 'text', tag: 'config', text: '{"lr": 1e-4} ✓' }]],
    [4, [{ kind: 'scalar', tag: 'late', value: 1 }]],
  ])
})

test('the bytes of a scalar event', async () => {
  const writer = await EventWriter.create(temporaryFolder(), { now: () => 1 })
  writer.scalar('a', 1, 300)
  await writer.close()
  const event = (await readFile(writer.path)).subarray(40 + 12, -4)
  // Event {wall_time 1.0, step 300, summary {value {tag "a", simple_value 1.0}}}
  expect(event.toString('hex')).toBe('09000000000000f03f' + '10ac02' + '2a0a' + '0a08' + '0a0161' + '150000803f')
})

test('a run that goes on says from where; many events are all there', async () => {
  const folder = temporaryFolder()
  await using writer = await EventWriter.create(folder, { purgeStep: 1000 })
  for (let step = 1000; step < 21_000; step++) writer.scalar('loss', step, step)
  await writer.flush()
  const [version, start, ...scalars] = await allEvents(writer.path)
  expect(version?.sessionStart).toBe(false)
  expect([start?.sessionStart, start?.step]).toEqual([true, 1000])
  expect(scalars.map(({ step }) => step)).toEqual(Array.from({ length: 20_000 }, (_, i) => 1000 + i))
})

describe('damage', () => {
  test('a cut anywhere ends the events after the last whole one', async () => {
    const writer = await EventWriter.create(temporaryFolder(), { now: () => 0 })
    writer.scalar('a', 1, 1)
    writer.scalar('b', 2, 2)
    await writer.close()
    const whole = await readFile(writer.path)
    const recordBytes = (whole.length - 40) / 2
    for (let length = whole.length; length >= 0; length--) {
      await truncate(writer.path, length)
      const whole = length < 40 ? 0 : 1 + Math.floor((length - 40) / recordBytes)
      expect((await allEvents(writer.path)).length).toBe(whole)
    }
  })

  test('a flipped bit in any byte is found', async () => {
    const writer = await EventWriter.create(temporaryFolder(), { now: () => 0 })
    writer.scalar('a', 1, 1)
    await writer.close()
    const whole = await readFile(writer.path)
    for (let byte = 0; byte < whole.length; byte++) {
      const flipped = Buffer.from(whole)
      flipped[byte]! ^= 1 << (byte % 8)
      await writeFile(writer.path, flipped)
      await expect(allEvents(writer.path)).rejects.toBeInstanceOf(FileFormatError)
    }
  })

  test('a record that is no event', async () => {
    const writer = await EventWriter.create(temporaryFolder(), { now: () => 0 })
    await writer.close()
    const message = Buffer.from([0x2a, 0x05, 0x00])
    const length = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0])
    const sums = [length, message].map((bytes) => Buffer.from(Uint32Array.of(maskedCrc32c(bytes)).buffer))
    await writeFile(writer.path, Buffer.concat([length, sums[0]!, message, sums[1]!]))
    await expect(allEvents(writer.path)).rejects.toThrow(/record at byte 0 is no event: a message ends in the middle/)
  })
})

test('what cannot be written is refused', async () => {
  const folder = temporaryFolder()
  const writer = await EventWriter.create(folder)
  expect(() => writer.image('a', Buffer.from('GIF89a'), 0)).toThrow(/not a PNG/)
  expect(() => writer.scalar('a', 1, 1.5)).toThrow(/step must be a whole number; it is 1\.5/)
  await writer.close()
  expect(() => writer.scalar('a', 1, 1)).toThrow(/is closed/)
  await expect(EventWriter.create(join(writer.path, 'below'))).rejects.toBeInstanceOf(FileAccessError)
  await expect(EventWriter.create(folder, { purgeStep: Number.NaN })).rejects.toThrow(/step must be a whole number/)
  expect(await readdir(folder)).toEqual([basename(writer.path)])
})
