import { defineCommand } from '../command.ts'

export const convertCommand = defineCommand({
  name: 'convert',
  summary: 'convert weights and checkpoints between torch, safetensors and checkpoint folders',
  description:
    "Names and dtypes stay as they are. A checkpoint folder (RUN/checkpoints/STEP) and the reference's training checkpoint (model, ema, opt, args, steps) become each other, so either side can go on with the other's run; with --weights, or into .safetensors, one set of weights is taken.",
  positionals: {
    input: { placeholder: 'IN', description: 'a .pt, .pth, .th, .ckpt or .safetensors file, or a checkpoint folder' },
    output: {
      placeholder: 'OUT',
      description: 'the same, told by its extension; a name without one is a checkpoint folder',
    },
  },
  options: {
    weights: {
      type: 'enum',
      values: ['ema', 'model'],
      description: 'of a training checkpoint, only these weights; into .safetensors it is ema by default',
    },
    key: {
      type: 'string',
      description: 'the state dict to take from a torch file that holds several: ema, state/model',
    },
    inert: {
      type: 'list',
      placeholder: 'MODULE.CLASS,…',
      description:
        'classes in a torch file, as its refusal names them, whose objects are left out; nothing of them is ever run',
    },
    heads: {
      type: 'integer',
      min: 1,
      placeholder: 'N',
      description: 'attention heads, for a checkpoint folder where the input does not tell them',
    },
    alignDepth: {
      type: 'integer',
      min: 1,
      placeholder: 'N',
      description: 'the block that is aligned, counted from 1, where the input does not tell it',
    },
    kind: {
      type: 'enum',
      values: ['SiT', 'DiT'],
      description:
        'for a checkpoint folder: the model, where the input could be of a DiT or an original SiT [inferred]',
    },
    force: { type: 'boolean', default: false, description: 'replace OUT where it exists' },
  },
  examples: [
    {
      command: 'repa convert 0400000.pt runs/xl/checkpoints/0400000',
      description: "the reference's run; repa train --data DATA --out runs/xl --resume goes on with it",
    },
    { command: 'repa convert runs/xl/checkpoints/0400000 xl.pt', description: 'the other way round' },
    { command: 'repa convert runs/xl/checkpoints/0400000 xl.safetensors', description: 'the EMA weights alone' },
    {
      command: 'repa convert model.safetensors.index.json model.safetensors',
      description: 'one file of the shards that lie beside an index',
    },
  ],
  async run({ input, output, weights, key, inert, heads, alignDepth, kind, force }, { out, signal }) {
    const { convert } = await import('../../conversion/convert.ts')
    const result = await convert(input, output, {
      force,
      signal,
      ...(weights !== undefined && { weights }),
      ...(key !== undefined && { key }),
      ...(inert !== undefined && { inert }),
      ...(heads !== undefined && { heads }),
      ...(alignDepth !== undefined && { alignDepth }),
      ...(kind !== undefined && { kind }),
    })
    for (const note of result.notes) out.warn(note)
    out.line(`${result.output}: ${result.kind === 'tensors' ? '' : 'training checkpoint, '}${result.tensors} tensors`)
    out.json(result)
  },
})
