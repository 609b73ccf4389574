import { beforeEach, describe, expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import type { Gradients } from '../../src/tensor/gradients.ts'
import { qkNorm } from '../../src/tensor/ops/attention.ts'
import { activation, add } from '../../src/tensor/ops/elementwise.ts'
import { layerNorm, normModulate } from '../../src/tensor/ops/layer-norm.ts'
import { linear, linearGatedResidual, mlp } from '../../src/tensor/ops/linear.ts'
import { reshape } from '../../src/tensor/ops/reshape.ts'
import { gatedResidual } from '../../src/tensor/ops/residual.ts'
import { rotate } from '../../src/tensor/ops/rope.ts'
import { Parameter } from '../../src/tensor/parameter.ts'
import { keep, scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DEVICES } from './devices.ts'

// Small whole numbers: every sum below is exact in float32, so gradients are compared bit for bit.
for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`the tape on ${device}`, () => {
    const vector = (...values: number[]) => Tensor.from(Float32Array.from(values), [values.length], device)
    const matrix = (rows: number, ...values: number[]) =>
      Tensor.from(Float32Array.from(values), [rows, values.length / rows], device)

    async function gradientsOf(tensors: readonly Tensor[], body: () => Tensor, seed: readonly number[]) {
      using tape = new Tape()
      tape.watch(...tensors)
      using out = tape.record(body)
      tape.seed(out, Tensor.from(Float32Array.from(seed), out.shape, device))
      const gradients = tape.backward()
      const values = await Promise.all(
        tensors.map(async (tensor) => [...((await gradients.get(tensor)?.data()) ?? [])]),
      )
      gradients.dispose()
      return values
    }

    test('a tensor used twice gets both gradients', async () => {
      const x = vector(1, 2)
      expect(await gradientsOf([x], () => add(x, x), [3, 5])).toEqual([[6, 10]])
      expect(await gradientsOf([x], () => add(add(x, x), add(x, x)), [3, 5])).toEqual([[12, 20]])
    })

    test('a residual used by two branches, and the branches by one sum', async () => {
      const x = vector(1, -1)
      const y = vector(2, 2)
      const body = () => {
        const a = add(x, y)
        const b = add(a, x)
        return add(add(a, b), add(b, y))
      }
      // a = x + y, b = 2 x + y; out = a + 2 b + y = 5 x + 4 y.
      expect(await gradientsOf([x, y], body, [1, 2])).toEqual([
        [5, 10],
        [4, 8],
      ])
    })

    test('a gradient that two tensors share is not written through', async () => {
      const bias = vector(1, 1)
      const other = vector(5, 5)
      const x = matrix(1, 1, 2)
      const weight = matrix(2, 1, 0, 0, 1)
      // add() gives both the same memory; then the bias' gradient is added to.
      const body = () => add(reshape(linear(x, { weight, bias }), [2]), add(bias, other))
      expect(await gradientsOf([bias, other], body, [1, 10])).toEqual([
        [2, 20],
        [1, 10],
      ])
    })

    test('a gradient that two tensors share is not turned in place', async () => {
      const packed = () => Tensor.full([1, 1, 6], 1, device)
      const [qkv, other] = [packed(), packed()]
      // By a quarter turn; a third of the columns are values, which stay as they are.
      const quarter = { cos: matrix(1, 0, 0), sin: matrix(1, 1, 1) }
      const body = () => add(rotate(qkv, quarter, 1), other)
      expect(await gradientsOf([qkv, other], body, [1, 2, 3, 4, 5, 6])).toEqual([
        [2, -1, 4, -3, 5, 6],
        [1, 2, 3, 4, 5, 6],
      ])
    })

    test('weights shared by two layers, of which only one has a bias', async () => {
      const x = matrix(1, 1, 2)
      const weight = matrix(2, 1, 2, 3, 4)
      const bias = vector(1, 1)
      const body = () => mlp(linear(x, { weight, bias }), [{ weight, bias: undefined }], 'none')
      // h = W x + b = [6, 12], out = W h; dh = Wᵀ [1, 1] = [4, 6]: dW = [1, 1] hᵀ + dh xᵀ, dx = Wᵀ dh.
      expect(await gradientsOf([weight, bias, x], body, [1, 1])).toEqual([
        [6 + 4, 12 + 8, 6 + 6, 12 + 12],
        [4, 6],
        [4 + 18, 8 + 24],
      ])
    })

    test('one bias under two LayerNorms whose weights differ', async () => {
      const x = matrix(1, 1, -1)
      const [first, second, bias] = [vector(1, 1), vector(2, 2), vector(0, 0)]
      const body = () => add(layerNorm(x, first, bias), layerNorm(x, second, bias))
      const [, , dBias] = await gradientsOf([first, second, bias], body, [3, 7])
      expect(dBias).toEqual([6, 14])
    })

    test('one weight for scale and offset of a LayerNorm', async () => {
      const x = matrix(2, 1, -1, 1, -1)
      const both = vector(1, 1)
      const [d] = await gradientsOf([both], () => layerNorm(x, both, both, 0), [1, 2, 3, 4])
      // x̂ = x: Σ d x̂ + Σ d.
      expect(d).toEqual([4 + 4, -6 + 6])
    })

    test('one weight for the queries and the keys of a qk-norm', async () => {
      // Two tokens of one head of 40, so that the sums over rows are of more than one block: q = k = ±1 by turns, whose x̂ is itself.
      const width = 40
      const row = (value: number) => Array.from({ length: width }, (_, i) => (i % 2 === 0 ? value : -value))
      const qkv = Tensor.from(
        Float32Array.from([1, -1].flatMap((sign) => [...row(sign), ...row(sign), ...row(7)])),
        [1, 2, 3 * width],
        device,
      )
      const weight = Tensor.full([width], 1, device)
      const bias = Tensor.zeros([width], device)
      const dOut = [1, 10].flatMap((d) => [...row(d), ...row(2 * d), ...row(100)])
      const [dWeight, dBias] = await gradientsOf(
        [weight, bias],
        () => qkNorm(qkv, { qWeight: weight, kWeight: weight, qBias: bias, kBias: bias }, 1, { epsilon: 0 }),
        dOut,
      )
      // Σ d x̂ = (1 + 2) - (10 + 20), and Σ d = ±(11 + 22).
      expect(dWeight).toEqual(Array.from({ length: width }, () => -27))
      expect(dBias).toEqual(row(33))
      qkv.dispose()
    })

    test('a residual that is its own branch', async () => {
      const x = Tensor.from(Float32Array.of(1, 2), [1, 1, 2], device)
      const modulation = Tensor.from(Float32Array.of(3, 4), [1, 1, 2], device)
      // x + g x: dx = d (1 + g), dg = d x.
      expect(await gradientsOf([x, modulation], () => gatedResidual(x, x, modulation, 0), [1, 1])).toEqual([
        [4, 5],
        [1, 2],
      ])
    })

    test('each op writes its chunk of a modulation; the unused ones are zero', async () => {
      const x = Tensor.from(Float32Array.of(1, 2), [1, 1, 2], device)
      const modulation = Tensor.zeros([1, 4, 2], device)
      const weight = matrix(2, 1, 0, 0, 1)
      const body = () => {
        const target = { residual: gatedResidual(x, x, modulation, 3), modulation, gate: 1 }
        return linearGatedResidual(x, { weight, bias: undefined }, target)
      }
      expect(await gradientsOf([modulation], body, [10, 100])).toEqual([[0, 0, 10, 200, 0, 0, 10, 200]])
    })

    test('a chunk used twice is refused', () => {
      const x = Tensor.from(Float32Array.of(1, 2), [1, 1, 2], device)
      const modulation = Tensor.zeros([1, 3, 2], device)
      const twice = gradientsOf(
        [modulation],
        () => gatedResidual(gatedResidual(x, x, modulation, 1), x, modulation, 1),
        [1, 1],
      )
      const crossed = gradientsOf(
        [modulation],
        () => normModulate(gatedResidual(x, x, modulation, 2), modulation, { shift: 0, scale: 2 }),
        [1, 1],
      )
      const message = (chunk: number) =>
        `backward: chunk ${chunk} of a modulation [1,3,2] has a gradient from another op already; a chunk may be used once in a pass.`
      return Promise.all([expect(twice).rejects.toThrow(message(1)), expect(crossed).rejects.toThrow(message(2))])
    })

    test('what is not watched gets no gradient, and a pass that nothing reaches is empty', async () => {
      const x = vector(1, 2)
      const y = vector(3, 4)
      const z = vector(5, 6)
      using tape = new Tape()
      tape.watch(x, z)
      using out = tape.record(() => add(x, y))
      tape.seed(out, vector(1, 1))
      const gradients = tape.backward()
      expect(gradients.get(y)).toBeUndefined()
      expect(gradients.get(z)).toBeUndefined()
      expect(gradients.has(x)).toBe(true)
      gradients.dispose()
    })

    const NO_LOSS =
      'backward: no loss was recorded since the last backward pass; record the forward pass again, with its loss.'

    test('backward empties the tape, which may be recorded on again', async () => {
      const x = vector(1, 2)
      using tape = new Tape()
      tape.watch(x)
      const pass = () => {
        using out = tape.record(() => add(x, x))
        tape.seed(out, vector(1, 1))
        return tape.backward()
      }
      pass().dispose()
      expect(() => tape.backward()).toThrow(NO_LOSS)
      const again = pass()
      expect([...(await again.get(x)!.data())]).toEqual([2, 2])
      again.dispose()
    })

    describe('parameters', () => {
      let arena: ParameterArena
      let weight: Parameter
      let bias: Parameter
      let unused: Parameter
      let frozen: Parameter
      let x: Tensor

      beforeEach(() => {
        ;[weight, bias, unused] = [[2, 2], [2], [3]].map((shape, i) => new Parameter(`p${i}`, shape))
        frozen = new Parameter('frozen', [2], false)
        arena = new ParameterArena([weight, bias, unused, frozen], device)
        arena.allocateGradients()
        weight.value.write(Float32Array.of(1, 2, 3, 4))
        bias.value.write(Float32Array.of(0, 0))
        frozen.value.write(Float32Array.of(1, 1))
        native().fill(arena.array('gradients').handle, 99)
        x = matrix(1, 1, 2)
        return () => arena.dispose()
      })

      function pass(options: { accumulate?: boolean } = {}, body?: () => Tensor): Gradients {
        using tape = new Tape(options)
        using out = tape.record(body ?? (() => linear(x, { weight: weight.value, bias: bias.value })))
        tape.seed(out, Tensor.from(Float32Array.of(1, 10), out.shape, device))
        return tape.backward(arena.parameters)
      }

      const read = async (parameter: Parameter) => [...(await parameter.gradient!.data())]

      test('are written where reached and zeroed where not', async () => {
        pass().dispose()
        expect(await read(weight)).toEqual([1, 2, 10, 20])
        expect(await read(bias)).toEqual([1, 10])
        expect(await read(unused)).toEqual([0, 0, 0])
        expect(frozen.gradient).toBeUndefined()
      })

      test('are left as they are where there is no loss to go back from', async () => {
        using tape = new Tape()
        using _out = tape.record(() => linear(x, { weight: weight.value, bias: bias.value }))
        expect(() => tape.backward(arena.parameters)).toThrow(NO_LOSS)
        expect(await read(weight)).toEqual([99, 99, 99, 99])
      })

      test('accumulate over passes', async () => {
        pass().dispose()
        pass({ accumulate: true }).dispose()
        pass({ accumulate: true }).dispose()
        expect(await read(weight)).toEqual([3, 6, 30, 60])
        expect(await read(bias)).toEqual([3, 30])
        expect(await read(unused)).toEqual([0, 0, 0])
      })

      test('used twice in a pass', async () => {
        const layer = { weight: weight.value, bias: bias.value }
        pass({}, () => add(linear(x, layer), linear(x, layer))).dispose()
        expect(await read(weight)).toEqual([2, 4, 20, 40])
        expect(await read(bias)).toEqual([2, 20])
      })

      // An op that knows nothing of parameters gives their gradients as any tensor's.
      test.each([{ accumulate: false }, { accumulate: true }])('taken as tensors, %o', async ({ accumulate }) => {
        if (accumulate) pass().dispose()
        const layer = { weight: weight.value, bias: bias.value }
        pass({ accumulate }, () => add(reshape(linear(x, layer), [2]), add(bias.value, frozen.value))).dispose()
        const times = accumulate ? 3 : 2
        expect(await read(bias)).toEqual([times, 10 * times])
        expect(await read(unused)).toEqual([0, 0, 0])
      })

      test('beside a watched tensor in one kernel, while accumulating', async () => {
        const watched = vector(1, 1)
        const rows = matrix(1, 1, -1)
        pass({}, () => layerNorm(rows, bias.value, frozen.value, 0)).dispose()
        using tape = new Tape({ accumulate: true })
        tape.watch(watched)
        using out = tape.record(() => layerNorm(rows, bias.value, watched, 0))
        tape.seed(out, matrix(1, 1, 10))
        const gradients = tape.backward(arena.parameters)
        expect([...(await gradients.get(watched)!.data())]).toEqual([1, 10])
        expect(await read(bias)).toEqual([2, -20])
        gradients.dispose()
      })

      test('bound to another role free the view before', async () => {
        arena.array('ema')
        const before = memoryStats(device).liveBytes
        const first = weight.value
        arena.use('ema')
        expect(() => first.alias()).toThrow('alias: tensor was disposed')
        arena.use('weights')
        expect(memoryStats(device).liveBytes).toBe(before)
        expect([...(await weight.value.data())]).toEqual([1, 2, 3, 4])
      })

      test('leave nothing behind with their arena', () => {
        const before = memoryStats(device).liveBytes
        const own = new ParameterArena([new Parameter('own', [1000])], device)
        own.array('ema')
        own.use('ema')
        own.use('weights')
        own.allocateGradients()
        own.dispose()
        expect(memoryStats(device).liveBytes).toBe(before)
      })
    })

    describe('memory', () => {
      const live = () => memoryStats(device).liveBytes
      /** A block may be up to a quarter larger than what was asked for (native/core/allocator.cpp). */
      const expectBytes = (actual: number, bytes: number) => {
        expect(actual).toBeGreaterThanOrEqual(bytes)
        expect(actual).toBeLessThanOrEqual(1.25 * bytes)
      }
      const block = (x: Tensor, weight: Tensor) => {
        const layer = { weight, bias: undefined }
        return add(x, mlp(activation(layerNorm(x, ones, ones), 'gelu-tanh'), [layer, layer], 'silu'))
      }
      let ones: Tensor
      let x: Tensor
      let weight: Tensor

      beforeEach(() => {
        ones = Tensor.full([64], 1, device)
        x = Tensor.full([8, 64], 0.5, device)
        weight = Tensor.full([64, 64], 0.1, device)
        return () => {
          for (const tensor of [ones, x, weight]) tensor.dispose()
        }
      })

      test('a scope frees all but what it returns', () => {
        const before = live()
        const kept = scope(() => ({ deep: [block(x, weight)] })).deep[0]
        expectBytes(live() - before, 8 * 64 * 4)
        kept.dispose()
        expect(live()).toBe(before)
      })

      test('a scope inside a scope passes its result on; keep() takes a tensor out of both', () => {
        const before = live()
        let saved: Tensor | undefined
        scope(() => {
          const inner = scope(() => block(x, weight))
          saved = scope(() => keep(scope(() => block(inner, weight))))
          return undefined
        })
        // Kept in the inner scope it belongs to nobody: not to the outer one either.
        expectBytes(live() - before, 8 * 64 * 4)
        saved!.dispose()
        expect(live()).toBe(before)
      })

      test('an op outside of any scope leaves only its result', () => {
        const before = live()
        for (const out of [
          layerNorm(x, ones, ones),
          mlp(
            x,
            [
              { weight, bias: ones },
              { weight, bias: ones },
            ],
            'silu',
          ),
        ]) {
          out.dispose()
        }
        expect(live()).toBe(before)
      })

      const thrown = new Error('the body ends early')

      test('a body that throws frees what it made', () => {
        const before = live()
        expect(() =>
          scope(() => {
            scope(() => block(x, weight))
            throw thrown
          }),
        ).toThrow(thrown)
        expect(live()).toBe(before)
      })

      test('a body that is asynchronous is refused and freed', () => {
        const before = live()
        expect(() =>
          scope(async () => {
            block(x, weight)
          }),
        ).toThrow('A scope takes synchronous code only; await outside of it.')
        expect(live()).toBe(before)
      })

      test.each([
        ['the recording', true],
        ['an op in the backward pass', false],
      ])('a pass in which %s throws leaves nothing', (_, recording) => {
        const before = live()
        const attempt = () => {
          using tape = new Tape()
          tape.watch(x, weight)
          using out = tape.record(() => {
            const first = block(x, weight)
            if (recording) throw thrown
            const second = block(first, weight)
            tape.push([second], [], () => {
              throw thrown
            })
            return second
          })
          tape.seed(out, Tensor.full([8, 64], 1, device))
          tape.backward()
        }
        expect(attempt).toThrow(thrown)
        expect(live()).toBe(before)
      })

      test('a pass leaves nothing: seeds of what is used twice, of what is not reached', () => {
        const before = live()
        for (let i = 0; i < 3; i++) {
          using tape = new Tape()
          tape.watch(x, weight)
          const [out, apart] = tape.record(() => [block(x, weight), add(x, x)])
          for (const tensor of [out, out, apart]) tape.seed(tensor, Tensor.full(tensor.shape, 1, device))
          out.dispose()
          apart.dispose()
          tape.backward().dispose()
        }
        expect(live()).toBe(before)
      })

      test('activations are freed as the backward pass consumes them', () => {
        using tape = new Tape()
        tape.watch(weight)
        const before = live()
        using out = tape.record(() => {
          let hidden = x
          for (let i = 0; i < 10; i++) hidden = block(hidden, weight)
          return hidden
        })
        const recorded = live() - before
        tape.seed(out, Tensor.full([8, 64], 1, device))
        const gradients = tape.backward()
        expect(recorded).toBeGreaterThan(10 * 6 * 8 * 64 * 4)
        // What is left: the result, the weight's gradient, and that of the norm, whose kernel always makes it.
        expectBytes(live() - before, (8 * 64 + 64 * 64 + 64) * 4)
        gradients.dispose()
      })
    })
  })
}
