import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { defineCommand, type PositionalTable } from '../../src/cli/command.ts'
import { COMMANDS, type CommandEntry } from '../../src/cli/commands.ts'
import { dispatch } from '../../src/cli/dispatch.ts'
import { Interruption, UsageError } from '../../src/cli/failure.ts'
import { commandHelp, usageOf } from '../../src/cli/help.ts'
import type { OptionTable } from '../../src/cli/option.ts'
import { styleFor } from '../../src/cli/style.ts'
import { StoppedByAnother } from '../../src/distributed/world.ts'
import { RecordingStream } from './recording-stream.ts'

let received: unknown

const train = defineCommand({
  name: 'train',
  summary: 'train a model',
  positionals: { data: { placeholder: 'DATA', description: 'the data' } },
  options: {
    steps: { type: 'integer', min: 1, default: 100, description: 'steps' },
    lr: { type: 'number', min: 0, description: 'learning rate' },
    alignWeight: { type: 'number', default: 0.5, description: 'weight' },
    path: { type: 'enum', values: ['linear', 'cosine'], default: 'linear', description: 'path' },
    encoder: { type: 'string', repeated: true, placeholder: 'NAME=FILE', description: 'encoders' },
    classes: { type: 'list', items: 'integer', description: 'classes' },
    model: { type: 'string', schema: z.string().regex(/^SiT/, 'expected a SiT'), description: 'model' },
    resume: { type: 'boolean', description: 'go on' },
  },
  examples: [{ command: 'repa train data', description: 'train' }],
  async run(args, { device, seed }) {
    // The types that the tables imply, checked by the compiler.
    const typed: {
      data: string
      steps: number
      lr: number | undefined
      path: 'linear' | 'cosine'
      encoder: string[]
      classes: number[] | undefined
      model: string | undefined
      resume: boolean | undefined
    } = args
    received = { ...typed, alignWeight: args.alignWeight, device, seed }
  },
})

/** A command that ends as its one argument says. */
const end = defineCommand({
  name: 'end how',
  summary: 'end somehow',
  positionals: { how: { placeholder: 'HOW', description: 'how' } },
  examples: [],
  async run({ how }, { out, signal }) {
    switch (how) {
      case 'json':
        out.line('for humans')
        out.json({ a: 1 })
        return
      case 'throw':
        throw new Error('runs/x/config.json: expected JSON,\n  got nothing; write it again.')
      case 'usage':
        throw new UsageError('--a and --b exclude each other.')
      case 'system':
        throw Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT', syscall: 'open', path: 'a/b.pt' })
      case 'escape':
        throw new Error("Cannot read the image 'a\u001b[2J\u009b1A\u0007.png'.")
      case 'string':
        throw 'a bare string'
      case 'stopped':
        throw new StoppedByAnother('another process was asked to stop.')
      case 'wait':
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        return
      case 'wait-throw':
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        return
      case 'wait-fail':
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        throw new Error('the disk is full.')
    }
  },
})

const entry = (command: typeof train): CommandEntry => ({ ...command, load: async () => command })
const commands = [entry(train), entry(end)]

async function run(words: string, { abort = false, env = {} as Record<string, string>, isTTY = false } = {}) {
  received = undefined
  const stdout = new RecordingStream({ isTTY })
  const stderr = new RecordingStream({ isTTY })
  const controller = new AbortController()
  const surroundings = { stdout, stderr, env, signal: controller.signal }
  const running = dispatch(words === '' ? [] : words.split(' '), surroundings, commands)
  if (abort) setTimeout(() => controller.abort(new Interruption('stopped by SIGINT')), 5)
  const status = await running
  return { status, stdout: stdout.text, stderr: stderr.text }
}

const defaults = {
  data: 'd',
  steps: 100,
  lr: undefined,
  alignWeight: 0.5,
  path: 'linear',
  encoder: [],
  classes: undefined,
  model: undefined,
  resume: undefined,
  device: 'auto',
  seed: undefined,
}

describe('command lines that are right', () => {
  test.each<[string, object]>([
    ['train d', {}],
    ['train d --steps 7', { steps: 7 }],
    ['train --steps=7 d', { steps: 7 }],
    ['train d --steps 400_000', { steps: 400_000 }],
    ['train d --steps 1e3', { steps: 1000 }],
    ['train d --steps 7 --steps 8', { steps: 8 }],
    ['train d --lr 1e-4', { lr: 1e-4 }],
    ['train d --lr .5', { lr: 0.5 }],
    ['train d --align-weight -0.5', { alignWeight: -0.5 }],
    ['train d --path cosine', { path: 'cosine' }],
    ['train d --encoder a=1 --encoder b=2', { encoder: ['a=1', 'b=2'] }],
    ['train d --classes 1,2,3', { classes: [1, 2, 3] }],
    ['train d --model SiT-B/2', { model: 'SiT-B/2' }],
    ['train d --model=SiT=2', { model: 'SiT=2' }],
    ['train d --resume', { resume: true }],
    ['train d --no-resume', { resume: false }],
    ['train d --resume=false', { resume: false }],
    ['train d --device cuda:1 --seed 3', { device: 'cuda:1', seed: 3 }],
    ['train --resume d', { resume: true }],
    ['train -- d', {}],
    ['train -- --resume', { data: '--resume' }],
    ['train -', { data: '-' }],
    ['train -1', { data: '-1' }],
  ])('repa %s', async (words, expected) => {
    expect(await run(words)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(received).toEqual({ ...defaults, ...expected })
  })
})

describe('command lines that are wrong: exit 2 and one sentence', () => {
  const usage = 'usage: repa train DATA [options].'
  test.each([
    ['train d --stpes 7', 'repa train: there is no option --stpes; did you mean --steps?'],
    ['train d --no-resmue', 'repa train: there is no option --no-resmue; did you mean --no-resume?'],
    ['train d --alignWeight 1', 'repa train: there is no option --alignWeight; did you mean --align-weight?'],
    ['train d --quite', 'repa train: there is no option --quite; did you mean --quiet?'],
    ['train d --xyzzy', `repa train: there is no option --xyzzy; 'repa train --help' lists its options.`],
    ['train d -x', `repa train: there is no option -x; 'repa train --help' lists its options.`],
    ['train d --no-steps', `repa train: there is no option --no-steps; --steps N takes a value.`],
    ['train d --steps', 'repa train: --steps needs a value: --steps N, an integer of at least 1.'],
    ['train d --steps --resume', 'repa train: --steps needs a value: --steps N, an integer of at least 1.'],
    ['train d --steps ten', "repa train: --steps: expected an integer of at least 1, got 'ten'."],
    ['train d --steps 0', "repa train: --steps: expected an integer of at least 1, got '0'."],
    ['train d --steps 1.5', "repa train: --steps: expected an integer of at least 1, got '1.5'."],
    ['train d --steps 0x10', "repa train: --steps: expected an integer of at least 1, got '0x10'."],
    ['train d --steps=', "repa train: --steps: expected an integer of at least 1, got ''."],
    ['train d --steps 1e99', "repa train: --steps: expected an integer of at least 1, got '1e99'."],
    ['train d --lr nan', "repa train: --lr: expected a number of at least 0, got 'nan'."],
    ['train d --path linaer', "repa train: --path: expected linear or cosine, got 'linaer' (did you mean linear?)."],
    ['train d --classes 1,,2', "repa train: --classes: expected integers between commas, got '1,,2'."],
    ['train d --model DiT', "repa train: --model got 'DiT': expected a SiT."],
    ['train d --resume=yes', "repa train: --resume: expected true or false, got 'yes'."],
    ['train d --no-resume=true', "repa train: --no-resume takes no value, got 'true'."],
    ['train d --device gpu', "repa train: --device: expected auto, cpu, cuda or cuda:N, got 'gpu'."],
    ['train d --seed -1', "repa train: --seed: expected an integer from 0 to 9007199254740991, got '-1'."],
    ['train', `repa train: DATA is missing; ${usage}`],
    ['train a b', `repa train: the argument 'b' is one too many; ${usage}`],
    ['trian d', "repa: there is no command 'trian'; did you mean 'repa train'?"],
    ['xyzzy', "repa: there is no command 'xyzzy'; 'repa --help' lists the commands."],
    ['end hwo', "repa: there is no command 'end hwo'; did you mean 'repa end how'?"],
    ['--steps 7', "repa: the command comes before its options, got '--steps' first; 'repa --help' lists the commands."],
    ['end how usage', 'repa end how: --a and --b exclude each other.'],
  ])('repa %s', async (words, message) => {
    expect(await run(words)).toEqual({ status: 2, stdout: '', stderr: `${message}\n` })
    expect(received).toBeUndefined()
  })
})

describe('how a command ends', () => {
  test.each([
    ['json', {}, { status: 0, stdout: '', stderr: 'for humans\n' }],
    ['json --json', {}, { status: 0, stdout: '{"a":1}\n', stderr: '' }],
    ['json --quiet', {}, { status: 0, stdout: '', stderr: '' }],
    [
      'throw',
      {},
      {
        status: 1,
        stdout: '',
        stderr: 'repa end how: runs/x/config.json: expected JSON, got nothing; write it again.\n',
      },
    ],
    [
      'system',
      {},
      { status: 1, stdout: '', stderr: 'repa end how: a/b.pt: there is no such file or folder; check the path.\n' },
    ],
    // The name of an archive's entry must not clear the screen.
    ['escape', {}, { status: 1, stdout: '', stderr: "repa end how: Cannot read the image 'a [2J 1A .png'.\n" }],
    ['string', {}, { status: 1, stdout: '', stderr: 'repa end how: a bare string\n' }],
    ['stopped', {}, { status: 130, stdout: '', stderr: 'repa end how: another process was asked to stop.\n' }],
    ['wait', { abort: true }, { status: 130, stdout: '', stderr: '' }],
    ['wait-throw', { abort: true }, { status: 130, stdout: '', stderr: '' }],
    ['wait-fail', { abort: true }, { status: 1, stdout: '', stderr: 'repa end how: the disk is full.\n' }],
  ])('%s %o', async (how, options, expected) => {
    expect(await run(`end how ${how}`, options)).toEqual(expected)
  })

  test('REPA_DEBUG=1 adds the stack', async () => {
    const { stderr } = await run('end how throw', { env: { REPA_DEBUG: '1' } })
    expect(stderr.split('\n')[0]).toMatch(/^repa end how: /)
    expect(stderr).toMatch(/dispatch\.test\.ts/)
  })
})

describe('help', () => {
  test.each([
    ['', 0],
    ['--help', 0],
    ['-h', 0],
    ['help', 0],
  ])('repa %s lists the commands', async (words, status) => {
    const help = await run(words)
    expect(help).toMatchObject({ status, stderr: '' })
    expect(help.stdout).toMatch(/^ {2}train {4}train a model$/m)
    expect(help.stdout).toMatch(/^ {2}end how {2}end somehow$/m)
    expect(help.stdout).toMatch(/--no-OPTION/)
    expect(help.stdout.replaceAll(/\s+/g, ' ')).toContain('What people read goes to stderr')
  })

  test.each([
    ['train', 'Against what --config says: --no-cuda-graph, --no-flip, --no-encode-latents turn these off.'],
    ['sample', undefined],
    ['bench step', undefined],
  ])('what a configuration may have turned on repa %s can turn off: %s', async (name, sentence) => {
    const command = await COMMANDS.find((one) => one.name === name)!.load()
    const help = commandHelp(command, styleFor(new RecordingStream(), {}), 80).replaceAll(/\s+/g, ' ')
    if (sentence === undefined) expect(help).not.toContain('--no-')
    else expect(help).toContain(sentence)
  })

  test.each(COMMANDS.map(({ name }) => name))(
    'in a narrow terminal the help of repa %s breaks between words',
    async (name) => {
      const command = await COMMANDS.find((one) => one.name === name)!.load()
      const help = commandHelp(command, styleFor(new RecordingStream(), {}), 40)
      // Command lines are to be copied as they are; a word alone may be longer than a line.
      const [prose] = help.split(/^Examples?$/m)
      const usage = usageOf(command)
      const broken = prose!
        .split('\n')
        .filter(
          (line) => line.length > 40 && line.trim() !== usage && !line.startsWith('  --') && / /.test(line.trim()),
        )
      expect(broken).toEqual([])
    },
  )

  test.each([
    'train --help',
    'help train',
    'train d --nonsense --help',
    'train -h',
    '--help train',
    '-h train --seed 1',
    'train --help=true',
    'help train --device cpu',
    '--help=true train',
  ])('repa %s tells about the command', async (words) => {
    const help = await run(words)
    expect(help).toMatchObject({ status: 0, stderr: '' })
    for (const line of [
      /^ {2}repa train DATA \[options\]$/m,
      /^ {2}--align-weight X .*weight \(default: 0\.5\)$/m,
      /^ {2}--path linear\|cosine .*path \(default: linear\)$/m,
      /^ {2}--encoder NAME=FILE .*encoders \(may be repeated\)$/m,
      /^ {2}--resume .*go on$/m,
      /^ {2}--seed N /m,
      /^ {2}repa train data$/m,
    ]) {
      expect(help.stdout).toMatch(line)
    }
    expect(received).toBeUndefined()
  })

  test('a family of two-word commands lists its members', async () => {
    expect((await run('end --help')).status).toBe(0)
    expect((await run('end --help')).stdout).toContain('end how')
    const bare = await run('end')
    expect(bare).toMatchObject({ status: 2, stdout: '' })
    expect(bare.stderr).toContain('end how')
  })

  test.each(['end --device cpu --help', 'end --seed 3 -h', 'help end --device cpu'])(
    "repa %s lists the family's members: an option's value is no command",
    async (words) => {
      const help = await run(words)
      expect(help).toMatchObject({ status: 0, stderr: '' })
      expect(help.stdout).toContain('end how')
      expect(help.stdout).not.toContain('train')
    },
  )

  test('repa --device cpu --help lists the commands', async () => {
    expect(await run('--device cpu --help')).toEqual(await run('--help'))
  })

  test('after -- it is a value', async () => {
    expect((await run('train -- --help')).status).toBe(0)
    expect(received).toMatchObject({ data: '--help' })
  })

  test('help for what is not there is a usage error', async () => {
    expect((await run('help trian')).status).toBe(2)
  })

  test.each([
    [true, {}, true],
    [true, { NO_COLOR: '1' }, false],
    [true, { TERM: 'dumb' }, false],
    [false, {}, false],
  ])('colours: terminal %s, %o → %s', async (isTTY, env, expected) => {
    expect((await run('--help', { isTTY, env: env as Record<string, string> })).stdout.includes('\u001b[')).toBe(
      expected,
    )
  })

  test('no line is wider than 80 columns', async () => {
    for (const { load } of COMMANDS) {
      const { name } = await load()
      const stdout = new RecordingStream()
      const surroundings = { stdout, stderr: stdout, env: {}, signal: new AbortController().signal }
      expect(await dispatch(['help', ...name.split(' ')], surroundings)).toBe(0)
      const options = stdout.text.split('\nOptions')[1] ?? ''
      expect(options.split('\n').filter((line) => line.length > 80)).toEqual([])
    }
  })
})

test('--version prints the package version', async () => {
  expect(await run('--version')).toEqual({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/), stderr: '' })
})

test.each(COMMANDS.map((command) => [command.name, command] as const))(
  'the table says of %s what the command itself says',
  async (name, { summary, load }) => {
    expect(await load()).toMatchObject({ name, summary })
  },
)

test.each<[string, { positionals?: PositionalTable; options?: OptionTable }, RegExp]>([
  ['a global option', { options: { seed: { type: 'integer', description: '' } } }, /redefines .*'seed'/],
  [
    'a name used twice',
    {
      positionals: { a: { placeholder: 'A', description: '' } },
      options: { a: { type: 'string', description: '' } },
    },
    /'a' for a positional and an option/,
  ],
  [
    'a repeated positional before another',
    {
      positionals: {
        a: { placeholder: 'A', description: '', repeated: true },
        b: { placeholder: 'B', description: '' },
      },
    },
    /only the last positional/,
  ],
])('defineCommand refuses %s', (_, tables, message) => {
  expect(() => defineCommand({ name: 'x', summary: '', examples: [], run: async () => {}, ...tables })).toThrow(message)
})
