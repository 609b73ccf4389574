// What cuobjdump prints of kernels' machine code (SASS), read: the instructions of every loop, by the unit of an SM that executes them, and how
// wide they access memory.

/**
 * By the first part of an opcode; what is not named here is ALU's. An SM's quarter issues one instruction of a warp a cycle: its FMA unit
 * takes one a cycle, the ALU one in two, what has sixteen lanes for a whole SM (exponentials, reciprocals, conversions) one in eight.
 */
const UNITS = {
  fma: ['FFMA', 'FMUL', 'FADD', 'IMAD', 'HFMA2', 'HMUL2', 'HADD2'],
  special: ['MUFU', 'I2F', 'F2I', 'F2F', 'FRND', 'POPC', 'BREV', 'FLO', 'DADD', 'DMUL', 'DFMA', 'DSETP'],
  tensor: ['HMMA', 'HGMMA', 'IMMA', 'IGMMA', 'QGMMA', 'DMMA'],
  memory: [
    ...[
      'LDG',
      'STG',
      'LDS',
      'STS',
      'LDL',
      'STL',
      'LD',
      'ST',
      'LDC',
      'LDSM',
      'STSM',
      'LDGSTS',
      'ATOM',
      'ATOMG',
      'ATOMS',
      'RED',
    ],
    ...['SHFL', 'SYNCS', 'UTMALDG', 'UTMASTG', 'UBLKCP', 'UBLKPF', 'CCTL', 'MEMBAR', 'FENCE'],
  ],
  control: [
    ...[
      'BRA',
      'BRX',
      'BSSY',
      'BSYNC',
      'BREAK',
      'BMOV',
      'CALL',
      'RET',
      'EXIT',
      'BAR',
      'NOP',
      'YIELD',
      'NANOSLEEP',
      'WARPSYNC',
      'WARPGROUP',
    ],
    ...['DEPBAR', 'LDGDEPBAR', 'ELECT', 'VOTE', 'ERRBAR', 'ACQBULK', 'UTMACMDFLUSH'],
  ],
}
const UNIT_OF = new Map(Object.entries(UNITS).flatMap(([unit, names]) => names.map((name) => [name, unit])))

/** @param {string} opcode  as `LDG.E.128.CONSTANT` */
export function unitOf(opcode) {
  const name = opcode.split('.', 1)[0]
  return UNIT_OF.get(name) ?? (/^(U[A-Z]|R2UR|S2UR|VOTEU)/.test(name) ? 'uniform' : 'alu')
}

/** `STG.128` of `STG.E.128`; nothing for what accesses no memory of the kernel's, or no number of bytes that the opcode says. */
function accessOf(opcode) {
  const [name, ...rest] = opcode.split('.')
  if (!/^(LD|ST|ATOM|RED)/.test(name) || ['LDC', 'LDSM', 'STSM', 'LDGDEPBAR'].includes(name)) return undefined
  const width = rest.map((part) => part.match(/^[US]?(8|16|32|64|128)$/)?.[1]).find((bits) => bits !== undefined)
  return `${name}.${width ?? 32}`
}

/** How often each occurs, the most first. */
function countBy(items) {
  const counts = new Map()
  for (const item of items) if (item !== undefined) counts.set(item, (counts.get(item) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)
}

/**
 * The kernels in what `cuobjdump -sass` prints, with their loops: from where a branch goes back to, to that branch.
 *
 * @returns {import('./machine-code.d.mts').KernelCode[]}
 */
export function readMachineCode(text) {
  const kernels = []
  let architecture = ''
  for (const line of text.split('\n')) {
    const [, found] = line.match(/^\s*code for (sm_\w+)/) ?? []
    if (found !== undefined) architecture = found
    const [, name] = line.match(/^\s*Function : (\S+)/) ?? []
    if (name !== undefined) kernels.push({ architecture, name, instructions: [] })
    const [, address, opcode, operands] =
      line.match(/^\s*\/\*([0-9a-f]{4,})\*\/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?)\s*;/) ?? []
    if (opcode !== undefined)
      kernels.at(-1).instructions.push({ address: Number.parseInt(address, 16), opcode, operands })
  }
  return kernels.map(({ instructions, ...kernel }) => ({
    ...kernel,
    count: instructions.length,
    loops: loopsOf(instructions).map(([first, last]) => describe(instructions, first, last)),
  }))
}

/** The first and last address of each, an inner one behind that which it is in. */
function loopsOf(instructions) {
  const last = new Map()
  for (const { address, opcode, operands } of instructions) {
    const target = opcode.startsWith('BRA') ? operands.match(/0x([0-9a-f]+)$/)?.[1] : undefined
    if (target === undefined) continue
    const to = Number.parseInt(target, 16)
    // A branch to itself is no loop: the code is filled up with them.
    if (to < address) last.set(to, address)
  }
  return [...last].sort(([a, aEnd], [b, bEnd]) => a - b || bEnd - aEnd)
}

function describe(instructions, first, last) {
  const own = instructions.filter(({ address }) => address >= first && address <= last)
  return {
    first,
    last,
    count: own.length,
    units: countBy(own.map(({ opcode }) => unitOf(opcode))),
    accesses: countBy(own.map(({ opcode }) => accessOf(opcode))),
  }
}
