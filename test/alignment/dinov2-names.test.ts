import { expect, test } from 'vitest'
import { dinov2 } from '../../src/alignment/dinov2.ts'
import { stateSource } from '../../src/nn/state-dict.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { authorsEncoder, transformersEncoder } from '../models/rae-files.ts'

/** Of a file's state, by the names that the encoder reads: what is there beyond those is left. */
async function readBy(state: ReturnType<typeof authorsEncoder>, names: readonly string[]) {
  const source = dinov2.state(stateSource(state, 'a file'))
  return Promise.all(names.map(async (name) => [name, source.shapeOf(name), [...(await source.read(name)).data]]))
}

test('DINOv2 is read as the Transformers library writes it, as from its authors’ file', async () => {
  const names = [...authorsEncoder().keys()]
  expect(names.length).toBeGreaterThan(30)
  expect(await readBy(transformersEncoder(), names)).toEqual(await readBy(authorsEncoder(), names))
})

/** As timm's checkpoint_filter_fn leaves a file of the authors' (timm/models/vision_transformer.py), with registers or without. */
function timmEncoder(registers: boolean): Map<string, HostTensor> {
  const state = new Map(authorsEncoder())
  state.delete('mask_token')
  const token = state.get('register_tokens')!
  state.delete('register_tokens')
  if (!registers) return state
  const hidden = token.shape[2]!
  const [table, classToken] = ['pos_embed', 'cls_token'].map((name) => state.get(name)!) as [HostTensor, HostTensor]
  const position = toFloat32(table).subarray(0, hidden)
  return state
    .set('reg_token', token)
    .set(
      'cls_token',
      hostFloat32(
        toFloat32(classToken).map((x, i) => x + position[i]!),
        classToken.shape,
      ),
    )
    .set('pos_embed', { dtype: 'f32', shape: [1, table.shape[1]! - 1, hidden], data: table.data.subarray(4 * hidden) })
}

/** Of a DINOv2 state, what enters the blocks by itself: the class token at its place. */
async function classAtItsPlace(state: ReturnType<typeof authorsEncoder>) {
  const source = dinov2.state(stateSource(state, 'a file'))
  const [token, table] = await Promise.all(['cls_token', 'pos_embed'].map(async (name) => source.read(name)))
  return toFloat32(token!).map((x, i) => x + toFloat32(table!)[i]!)
}

test.each([true, false])('DINOv2 is read as timm writes it, registers: %s', async (registers) => {
  const timm = timmEncoder(registers)
  const authors = authorsEncoder()
  const source = dinov2.state(stateSource(timm, 'a file'))
  expect(source.names.includes('register_tokens')).toBe(registers)
  const place = ['cls_token', 'pos_embed']
  const others = [...authors.keys()].filter(
    (name) => ![...place, 'mask_token'].includes(name) && (registers || name !== 'register_tokens'),
  )
  expect(await readBy(timm, others)).toEqual(await readBy(authors, others))
  expect(await classAtItsPlace(timm)).toEqual(await classAtItsPlace(authors))
  const { shape } = authors.get('pos_embed')!
  expect(source.shapeOf('pos_embed')).toEqual(shape)
  const patches = async (state: typeof timm) =>
    (await dinov2.state(stateSource(state, 'a file')).read('pos_embed')).data.subarray(4 * shape[2]!)
  expect([...(await patches(timm))]).toEqual([...(await patches(authors))])
})

test('SwiGLU in timm’s names is told by its matrices', () => {
  const file = (rows: number) =>
    new Map<string, HostTensor>(
      Object.entries({
        cls_token: [1, 1, 2],
        pos_embed: [1, 5, 2],
        'blocks.0.ls1.gamma': [2],
        'blocks.0.mlp.fc1.weight': [rows, 2],
        'blocks.0.mlp.fc2.weight': [2, 3],
      }).map(([name, shape]) => [name, hostFloat32(new Float32Array(shape.reduce((a, b) => a * b)), shape)]),
    )
  const matrices = (rows: number) =>
    dinov2.state(stateSource(file(rows), 'a file')).names.filter((name) => name.includes('.mlp.'))
  expect(matrices(6)).toEqual(['blocks.0.mlp.w12.weight', 'blocks.0.mlp.w3.weight'])
  expect(matrices(3)).toEqual(['blocks.0.mlp.fc1.weight', 'blocks.0.mlp.fc2.weight'])
})
