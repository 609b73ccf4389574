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
import { COST, contentCost, PickleStack } from './pickle-stack.ts'
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
  readonly #stack: PickleStack

  constructor(bytes: Uint8Array, context: PickleContext) {
    this.#input = new PickleInput(bytes, context)
    this.#context = context
    this.#stack = new PickleStack((problem) => this.#fault(problem))
  }

  /** Where the next instruction would be. */
  get end(): number {
    return this.#input.position
  }

  run(): unknown {
    for (;;) {
      const opcode = this.#input.u8()
      if (opcode === Opcode.STOP) return this.#stack.pop()
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
        this.#stack.push(null)
        break
      case Opcode.NEWTRUE:
        this.#stack.push(true)
        break
      case Opcode.NEWFALSE:
        this.#stack.push(false)
        break
      case Opcode.INT:
        this.#stack.push(this.#integerOrBoolean(this.#input.line()))
        break
      case Opcode.BININT:
        this.#stack.push(this.#input.i32())
        break
      case Opcode.BININT1:
        this.#stack.push(this.#input.u8())
        break
      case Opcode.BININT2:
        this.#stack.push(this.#input.u16())
        break
      case Opcode.LONG:
        this.#stack.push(this.#explained(() => decimalInteger(this.#input.line().replace(/L$/, ''))))
        break
      case Opcode.LONG1:
        this.#stack.push(this.#explained(() => binaryInteger(this.#input.take(this.#input.u8()))))
        break
      case Opcode.LONG4:
        this.#stack.push(this.#explained(() => binaryInteger(this.#input.take(this.#input.u32()))))
        break
      case Opcode.FLOAT:
        this.#stack.push(this.#explained(() => decimalFloat(this.#input.line())))
        break
      case Opcode.BINFLOAT:
        this.#stack.push(this.#input.f64BigEndian())
        break

      case Opcode.STRING:
        this.#stack.pushText(this.#explained(() => quotedString(this.#input.line())))
        break
      case Opcode.BINSTRING:
        this.#stack.pushText(python2String(this.#input.take(this.#input.u32())))
        break
      case Opcode.SHORT_BINSTRING:
        this.#stack.pushText(python2String(this.#input.take(this.#input.u8())))
        break
      case Opcode.UNICODE:
        this.#stack.pushText(rawUnicodeEscape(this.#input.line()))
        break
      case Opcode.SHORT_BINUNICODE:
        this.#stack.pushText(utf8String(this.#input.take(this.#input.u8())))
        break
      case Opcode.BINUNICODE:
        this.#stack.pushText(utf8String(this.#input.take(this.#input.u32())))
        break
      case Opcode.BINUNICODE8:
        this.#stack.pushText(utf8String(this.#input.take(this.#input.length64())))
        break
      case Opcode.SHORT_BINBYTES:
        this.#stack.pushText(this.#input.take(this.#input.u8()).slice())
        break
      case Opcode.BINBYTES:
        this.#stack.pushText(this.#input.take(this.#input.u32()).slice())
        break
      case Opcode.BINBYTES8:
      case Opcode.BYTEARRAY8:
        this.#stack.pushText(this.#input.take(this.#input.length64()).slice())
        break
      case Opcode.READONLY_BUFFER:
        break

      case Opcode.EMPTY_LIST:
      case Opcode.EMPTY_TUPLE:
        this.#stack.push([], COST.list)
        break
      case Opcode.LIST:
      case Opcode.TUPLE:
        this.#stack.push(this.#stack.popMark(), COST.list)
        break
      case Opcode.TUPLE1:
        this.#stack.push(this.#stack.popMany(1), COST.list)
        break
      case Opcode.TUPLE2:
        this.#stack.push(this.#stack.popMany(2), COST.list)
        break
      case Opcode.TUPLE3:
        this.#stack.push(this.#stack.popMany(3), COST.list)
        break
      case Opcode.EMPTY_DICT:
        this.#stack.push(new Map(), COST.map)
        break
      case Opcode.DICT: {
        const items = this.#stack.popMark()
        const dict = new Map()
        this.#stack.push(dict, COST.map)
        this.#setItems(dict, items)
        break
      }
      case Opcode.EMPTY_SET:
        this.#stack.push(new Set(), COST.set)
        break
      case Opcode.FROZENSET: {
        const items = this.#stack.popMark()
        this.#stack.push(new Set(items), COST.set + COST.slot * items.length)
        break
      }
      case Opcode.APPEND: {
        const item = this.#stack.pop()
        this.#extend(this.#stack.top(), [item])
        break
      }
      case Opcode.APPENDS: {
        const items = this.#stack.popMark()
        this.#extend(this.#stack.top(), items)
        break
      }
      case Opcode.SETITEM: {
        const pair = this.#stack.popMany(2)
        this.#setItems(this.#stack.top(), pair)
        break
      }
      case Opcode.SETITEMS: {
        const items = this.#stack.popMark()
        this.#setItems(this.#stack.top(), items)
        break
      }
      case Opcode.ADDITEMS: {
        const items = this.#stack.popMark()
        const set = this.#stack.top()
        if (!(set instanceof Set)) throw this.#fault('adds to something that is not a set')
        this.#stack.charge(2 * COST.slot * items.length)
        for (const item of items) set.add(item)
        break
      }

      case Opcode.MARK:
        this.#stack.mark()
        break
      case Opcode.POP:
        this.#stack.discard()
        break
      case Opcode.POP_MARK:
        this.#stack.popMark()
        break
      case Opcode.DUP:
        this.#stack.push(this.#stack.top())
        break
      case Opcode.GET:
        this.#stack.recall(this.#input.decimalIndex())
        break
      case Opcode.BINGET:
        this.#stack.recall(this.#input.u8())
        break
      case Opcode.LONG_BINGET:
        this.#stack.recall(this.#input.u32())
        break
      case Opcode.PUT:
        this.#stack.memorise(this.#input.decimalIndex())
        break
      case Opcode.BINPUT:
        this.#stack.memorise(this.#input.u8())
        break
      case Opcode.LONG_BINPUT:
        this.#stack.memorise(this.#input.u32())
        break
      case Opcode.MEMOIZE:
        this.#stack.memorise(this.#stack.memorised)
        break

      case Opcode.GLOBAL:
        this.#pushGlobal(this.#input.line(), this.#input.line())
        break
      case Opcode.STACK_GLOBAL: {
        const [module, name] = this.#stack.popMany(2)
        if (typeof module !== 'string' || typeof name !== 'string') throw this.#fault('names a global without text')
        this.#pushGlobal(module, name)
        break
      }
      case Opcode.REDUCE:
      case Opcode.NEWOBJ: {
        const [callee, args] = this.#stack.popMany(2)
        this.#call(callee, args)
        break
      }
      case Opcode.NEWOBJ_EX: {
        const [callee, args, keywords] = this.#stack.popMany(3)
        if (!(keywords instanceof Map) || keywords.size > 0) throw this.#fault('builds an object by keyword arguments')
        this.#call(callee, args)
        break
      }
      case Opcode.INST: {
        this.#pushGlobal(this.#input.line(), this.#input.line())
        const callee = this.#stack.pop()
        this.#call(callee, this.#stack.popMark())
        break
      }
      case Opcode.OBJ: {
        const [callee, ...args] = this.#stack.popMark()
        this.#call(callee, args)
        break
      }
      case Opcode.BUILD: {
        const state = this.#stack.pop()
        this.#build(this.#stack.top(), state)
        break
      }
      case Opcode.BINPERSID:
        this.#stack.push(
          this.#explained(() => this.#context.persistentLoad(this.#stack.pop())),
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

  #pushGlobal(module: string, name: string): void {
    const global = this.#context.resolveGlobal(module, name)
    if (global === undefined) {
      const { path, part } = this.#context
      throw new FileFormatError(
        path,
        `${part} names ${JSON.stringify(`${module}.${name}`)}, which is not among the classes and functions that a ` +
          'checkpoint may hold; nothing of it was run. Save the file again with only tensors, numbers, text, lists and ' +
          'dictionaries in it (for a model: its state_dict()), or, to keep such objects as plain data, allow the name ' +
          'by `inert` where it is converted, by `inertGlobals` where a program opens it.',
      )
    }
    this.#stack.push(global)
  }

  #call(callee: unknown, args: unknown): void {
    if (!(callee instanceof PickleGlobal) || !Array.isArray(args)) {
      throw this.#fault('calls something that is not a function: it is damaged')
    }
    this.#stack.charge(contentCost(args))
    for (const arg of args) this.#stack.charge(contentCost(arg))
    const result = this.#explained(() => callee.call(args))
    this.#stack.push(result, COST.map + contentCost(result))
  }

  #build(target: unknown, state: unknown): void {
    const build = builderOf(target)
    if (build !== undefined) {
      this.#explained(() => build(state))
      this.#stack.charge(contentCost(target))
    } else if (target instanceof InertObject) target.state = state
    // Attributes of a dictionary (`_metadata` of a state dict) are nothing that a tensor needs.
    else if (!(target instanceof Map)) throw this.#fault('gives a state to something that has none: it is damaged')
  }

  #extend(target: unknown, items: unknown[]): void {
    const list = target instanceof InertObject ? target.elements : target
    if (!Array.isArray(list)) throw this.#fault('appends to something that is not a list: it is damaged')
    this.#stack.charge(COST.slot * items.length)
    for (const item of items) list.push(item)
  }

  #setItems(target: unknown, items: unknown[]): void {
    const dict = target instanceof InertObject ? target.entries : target
    if (!(dict instanceof Map)) throw this.#fault('sets an item of something that is not a dictionary: it is damaged')
    if (items.length % 2 !== 0) throw this.#fault('has a key without a value: it is damaged')
    this.#stack.charge(2 * COST.slot * items.length)
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
