import { FileFormatError } from './errors.ts'
import { PickleInput } from './pickle-input.ts'
import {
  binaryInteger,
  decimalFloat,
  decimalInteger,
  python2String,
  quotedString,
  rawUnicodeEscape,
  utf8String,
} from './pickle-literals.ts'
import { Opcode } from './pickle-opcodes.ts'
import { checkPickleTree } from './pickle-tree.ts'
import { builderOf, InertObject, PickleGlobal } from './pickle-values.ts'

/** How a format reads its pickles. */
export interface PickleContext {
  /** For error messages: the file, and what of it the pickle is. */
  readonly path: string
  readonly part: string
  /** The object behind `module.name`, or undefined where it is not allowed. */
  resolveGlobal(module: string, name: string): unknown
  /** The object behind a persistent id; torch keeps its storages there. */
  persistentLoad(id: unknown): unknown
}

/**
 * Most bytes of memory that one pickle's objects may take, by the estimates below. A checkpoint's own are a few
 * megabytes; a hostile pickle makes an object of hundreds of bytes from each of its own.
 */
const MEMORY_BUDGET = 2 ** 27
const COST = { slot: 16, list: 64, map: 300, set: 200, memo: 64, text: 48 } as const

const HIGHEST_PROTOCOL = 5

/**
 * Reads one pickle (protocols 0 to 5; the opcodes are those of CPython's Lib/pickletools.py) and returns its value and
 * where it ended. It is an interpreter for data alone: globals come from the context's list or are refused by name, time
 * is linear in the bytes, memory is bounded, and the result is a tree of bounded depth and size without cycles.
 */
export function readPickle(bytes: Uint8Array, context: PickleContext): { value: unknown; end: number } {
  const machine = new PickleMachine(bytes, context)
  const value = machine.run()
  checkPickleTree(value, context)
  return { value, end: machine.end }
}

class PickleMachine {
  readonly #input: PickleInput
  readonly #context: PickleContext
  #stack: unknown[] = []
  readonly #marked: unknown[][] = []
  readonly #memo = new Map<number, unknown>()
  #budget = MEMORY_BUDGET

  constructor(bytes: Uint8Array, context: PickleContext) {
    this.#input = new PickleInput(bytes, context)
    this.#context = context
  }

  /** Where the next instruction would be. */
  get end(): number {
    return this.#input.position
  }

  run(): unknown {
    for (;;) {
      const opcode = this.#input.u8()
      if (opcode === Opcode.STOP) return this.#pop()
      this.#execute(opcode)
    }
  }

  #execute(opcode: number): void {
    switch (opcode) {
      case Opcode.PROTO: {
        const protocol = this.#input.u8()
        if (protocol > HIGHEST_PROTOCOL) throw this.#fault(`is of protocol ${protocol}; up to 5 are read`)
        break
      }
      case Opcode.FRAME:
        this.#input.length64()
        break

      case Opcode.NONE:
        this.#push(null)
        break
      case Opcode.NEWTRUE:
        this.#push(true)
        break
      case Opcode.NEWFALSE:
        this.#push(false)
        break
      case Opcode.INT:
        this.#push(this.#integerOrBoolean(this.#input.line()))
        break
      case Opcode.BININT:
        this.#push(this.#input.i32())
        break
      case Opcode.BININT1:
        this.#push(this.#input.u8())
        break
      case Opcode.BININT2:
        this.#push(this.#input.u16())
        break
      case Opcode.LONG:
        this.#push(this.#explained(() => decimalInteger(this.#input.line().replace(/L$/, ''))))
        break
      case Opcode.LONG1:
        this.#push(this.#explained(() => binaryInteger(this.#input.take(this.#input.u8()))))
        break
      case Opcode.LONG4:
        this.#push(this.#explained(() => binaryInteger(this.#input.take(this.#input.u32()))))
        break
      case Opcode.FLOAT:
        this.#push(this.#explained(() => decimalFloat(this.#input.line())))
        break
      case Opcode.BINFLOAT:
        this.#push(this.#input.f64BigEndian())
        break

      case Opcode.STRING:
        this.#pushText(this.#explained(() => quotedString(this.#input.line())))
        break
      case Opcode.BINSTRING:
        this.#pushText(python2String(this.#input.take(this.#input.u32())))
        break
      case Opcode.SHORT_BINSTRING:
        this.#pushText(python2String(this.#input.take(this.#input.u8())))
        break
      case Opcode.UNICODE:
        this.#pushText(rawUnicodeEscape(this.#input.line()))
        break
      case Opcode.SHORT_BINUNICODE:
        this.#pushText(utf8String(this.#input.take(this.#input.u8())))
        break
      case Opcode.BINUNICODE:
        this.#pushText(utf8String(this.#input.take(this.#input.u32())))
        break
      case Opcode.BINUNICODE8:
        this.#pushText(utf8String(this.#input.take(this.#input.length64())))
        break
      case Opcode.SHORT_BINBYTES:
        this.#pushText(this.#input.take(this.#input.u8()).slice())
        break
      case Opcode.BINBYTES:
        this.#pushText(this.#input.take(this.#input.u32()).slice())
        break
      case Opcode.BINBYTES8:
      case Opcode.BYTEARRAY8:
        this.#pushText(this.#input.take(this.#input.length64()).slice())
        break
      case Opcode.READONLY_BUFFER:
        break

      case Opcode.EMPTY_LIST:
      case Opcode.EMPTY_TUPLE:
        this.#push([], COST.list)
        break
      case Opcode.LIST:
      case Opcode.TUPLE:
        this.#push(this.#popMark(), COST.list)
        break
      case Opcode.TUPLE1:
        this.#push(this.#popMany(1), COST.list)
        break
      case Opcode.TUPLE2:
        this.#push(this.#popMany(2), COST.list)
        break
      case Opcode.TUPLE3:
        this.#push(this.#popMany(3), COST.list)
        break
      case Opcode.EMPTY_DICT:
        this.#push(new Map(), COST.map)
        break
      case Opcode.DICT: {
        const items = this.#popMark()
        const dict = new Map()
        this.#push(dict, COST.map)
        this.#setItems(dict, items)
        break
      }
      case Opcode.EMPTY_SET:
        this.#push(new Set(), COST.set)
        break
      case Opcode.FROZENSET: {
        const items = this.#popMark()
        this.#push(new Set(items), COST.set + COST.slot * items.length)
        break
      }
      case Opcode.APPEND: {
        const item = this.#pop()
        this.#extend(this.#top(), [item])
        break
      }
      case Opcode.APPENDS: {
        const items = this.#popMark()
        this.#extend(this.#top(), items)
        break
      }
      case Opcode.SETITEM: {
        const pair = this.#popMany(2)
        this.#setItems(this.#top(), pair)
        break
      }
      case Opcode.SETITEMS: {
        const items = this.#popMark()
        this.#setItems(this.#top(), items)
        break
      }
      case Opcode.ADDITEMS: {
        const items = this.#popMark()
        const set = this.#top()
        if (!(set instanceof Set)) throw this.#fault('adds to something that is not a set')
        this.#charge(2 * COST.slot * items.length)
        for (const item of items) set.add(item)
        break
      }

      case Opcode.MARK:
        this.#charge(COST.list)
        this.#marked.push(this.#stack)
        this.#stack = []
        break
      case Opcode.POP:
        // At the bottom of a mark's stack, POP takes the mark itself.
        if (this.#stack.length === 0) this.#popMark()
        else this.#pop()
        break
      case Opcode.POP_MARK:
        this.#popMark()
        break
      case Opcode.DUP:
        this.#push(this.#top())
        break
      case Opcode.GET:
        this.#recall(this.#input.decimalIndex())
        break
      case Opcode.BINGET:
        this.#recall(this.#input.u8())
        break
      case Opcode.LONG_BINGET:
        this.#recall(this.#input.u32())
        break
      case Opcode.PUT:
        this.#memorise(this.#input.decimalIndex())
        break
      case Opcode.BINPUT:
        this.#memorise(this.#input.u8())
        break
      case Opcode.LONG_BINPUT:
        this.#memorise(this.#input.u32())
        break
      case Opcode.MEMOIZE:
        this.#memorise(this.#memo.size)
        break

      case Opcode.GLOBAL:
        this.#pushGlobal(this.#input.line(), this.#input.line())
        break
      case Opcode.STACK_GLOBAL: {
        const [module, name] = this.#popMany(2)
        if (typeof module !== 'string' || typeof name !== 'string') throw this.#fault('names a global without text')
        this.#pushGlobal(module, name)
        break
      }
      case Opcode.REDUCE:
      case Opcode.NEWOBJ: {
        const [callee, args] = this.#popMany(2)
        this.#call(callee, args)
        break
      }
      case Opcode.NEWOBJ_EX: {
        const [callee, args, keywords] = this.#popMany(3)
        if (!(keywords instanceof Map) || keywords.size > 0) throw this.#fault('builds an object by keyword arguments')
        this.#call(callee, args)
        break
      }
      case Opcode.INST: {
        this.#pushGlobal(this.#input.line(), this.#input.line())
        const callee = this.#pop()
        this.#call(callee, this.#popMark())
        break
      }
      case Opcode.OBJ: {
        const [callee, ...args] = this.#popMark()
        this.#call(callee, args)
        break
      }
      case Opcode.BUILD: {
        const state = this.#pop()
        this.#build(this.#top(), state)
        break
      }
      case Opcode.BINPERSID:
        this.#push(
          this.#explained(() => this.#context.persistentLoad(this.#pop())),
          COST.map,
        )
        break

      case Opcode.PERSID:
      case Opcode.EXT1:
      case Opcode.EXT2:
      case Opcode.EXT4:
      case Opcode.NEXT_BUFFER:
        throw this.#fault(`refers to something outside of the file (opcode 0x${opcode.toString(16)})`)
      default:
        throw this.#fault(`has the unknown opcode 0x${opcode.toString(16).padStart(2, '0')}: it is damaged`)
    }
  }

  // The stack.

  #push(value: unknown, cost: number = COST.slot): void {
    this.#charge(cost)
    this.#stack.push(value)
  }

  #pushText(value: string | Uint8Array): void {
    this.#push(value, COST.text + 2 * value.length)
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw this.#fault('takes a value that is not there: it is damaged')
    return this.#stack.pop()
  }

  #popMany(count: number): unknown[] {
    if (this.#stack.length < count) throw this.#fault('takes a value that is not there: it is damaged')
    return this.#stack.splice(this.#stack.length - count)
  }

  #popMark(): unknown[] {
    const items = this.#stack
    const below = this.#marked.pop()
    if (below === undefined) throw this.#fault('takes a mark that is not there: it is damaged')
    this.#stack = below
    return items
  }

  #top(): unknown {
    if (this.#stack.length === 0) throw this.#fault('takes a value that is not there: it is damaged')
    return this.#stack.at(-1)
  }

  #recall(index: number): void {
    if (!this.#memo.has(index)) throw this.#fault(`recalls memo ${index}, which was never set: it is damaged`)
    this.#push(this.#memo.get(index))
  }

  #memorise(index: number): void {
    this.#charge(COST.memo)
    this.#memo.set(index, this.#top())
  }

  #charge(bytes: number): void {
    this.#budget -= bytes
    if (this.#budget < 0) throw this.#fault(`would take more than ${MEMORY_BUDGET / 2 ** 20} MiB of memory`)
  }

  // Objects.

  #pushGlobal(module: string, name: string): void {
    const global = this.#context.resolveGlobal(module, name)
    if (global === undefined) {
      const { path, part } = this.#context
      throw new FileFormatError(
        path,
        `${part} names ${JSON.stringify(`${module}.${name}`)}, which is not among the classes and functions that a ` +
          'checkpoint may hold; nothing of it was run. Save the file again with only tensors, numbers, text, lists and ' +
          'dictionaries in it (for a model: its state_dict()), or, to keep such objects as plain data, allow the name ' +
          'in inertGlobals.',
      )
    }
    this.#push(global)
  }

  #call(callee: unknown, args: unknown): void {
    if (!(callee instanceof PickleGlobal) || !Array.isArray(args)) {
      throw this.#fault('calls something that is not a function: it is damaged')
    }
    this.#charge(contentCost(args))
    for (const arg of args) this.#charge(contentCost(arg))
    const result = this.#explained(() => callee.call(args))
    this.#push(result, COST.map + contentCost(result))
  }

  #build(target: unknown, state: unknown): void {
    const build = builderOf(target)
    if (build !== undefined) {
      this.#explained(() => build(state))
      this.#charge(contentCost(target))
    } else if (target instanceof InertObject) target.state = state
    // Attributes of a dictionary (`_metadata` of a state dict) are nothing that a tensor needs.
    else if (!(target instanceof Map)) throw this.#fault('gives a state to something that has none: it is damaged')
  }

  #extend(target: unknown, items: unknown[]): void {
    const list = target instanceof InertObject ? target.elements : target
    if (!Array.isArray(list)) throw this.#fault('appends to something that is not a list: it is damaged')
    this.#charge(COST.slot * items.length)
    for (const item of items) list.push(item)
  }

  #setItems(target: unknown, items: unknown[]): void {
    const dict = target instanceof InertObject ? target.entries : target
    if (!(dict instanceof Map)) throw this.#fault('sets an item of something that is not a dictionary: it is damaged')
    if (items.length % 2 !== 0) throw this.#fault('has a key without a value: it is damaged')
    this.#charge(2 * COST.slot * items.length)
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1])
  }

  /** Says where in which file it was that a reconstruction refused its arguments. */
  #explained<T>(action: () => T): T {
    try {
      return action()
    } catch (error) {
      if (error instanceof FileFormatError) throw error
      throw new FileFormatError(
        this.#context.path,
        `${this.#context.part}, byte ${this.#input.position}: ${(error as Error).message}`,
        { cause: error },
      )
    }
  }

  /** Protocols 0 and 1 write True and False as the integers 01 and 00. */
  #integerOrBoolean(text: string): number | bigint | boolean {
    if (text === '01' || text === '00') return text === '01'
    return this.#explained(() => decimalInteger(text))
  }

  #fault(problem: string): FileFormatError {
    return new FileFormatError(
      this.#context.path,
      `${this.#context.part}, byte ${this.#input.position}: the pickle ${problem}.`,
    )
  }
}

/** What a reconstruction reads or copies: without this, copying one long list again and again would cost nothing. */
function contentCost(value: unknown): number {
  if (Array.isArray(value) || typeof value === 'string') return COST.slot * value.length
  if (value instanceof Map || value instanceof Set) return 3 * COST.slot * value.size
  if (value instanceof Uint8Array) return value.length
  return typeof value === 'object' && value !== null && 'data' in value ? contentCost(value.data) : 0
}
