/** What a program without types may ask a preparation for: refused in a sentence before anything is made, for a set of something else would come of it. */
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { blockMoments, pictures, setup, tokenMeans } from './preparing.ts'

const AUTOENCODER = 'expected "none", or an autoencoder as loadAutoencoder gives it'

describe('prepareDataset', () => {
  test.each<[wrong: Record<string, unknown>, sentence: string]>([
    [{ sise: 32 }, 'there is no setting "sise"; did you mean "size"?'],
    [{ unlabeled: true }, 'there is no setting "unlabeled"; did you mean "unlabelled"?'],
    [{ source: 3 }, 'source is 3, which is none of the forms it may have.'],
    [{ source: [] }, 'source is []: expected array to have >=1 items.'],
    [{ size: -1 }, 'size is -1: expected number to be >0.'],
    [{ size: 1.5 }, 'size is 1.5: expected int.'],
    [{ size: '16' }, 'size is "16": expected number.'],
    [{ wideHeight: 0 }, 'wideHeight is 0: expected number to be >0.'],
    [{ maxImages: 0 }, 'maxImages is 0: expected number to be >0.'],
    [{ featurePatch: 0 }, 'featurePatch is 0: expected number to be >0.'],
    [{ onCorrupt: 'Fail' }, 'onCorrupt is "Fail": expected one of "skip"|"fail"; did you mean "fail"?'],
    [
      { transform: 'cemter-crop' },
      'transform is "cemter-crop": expected one of "center-crop-dhariwal"|"center-crop"|"center-crop-wide"|"none"; ' +
        'did you mean "center-crop"?',
    ],
    [{ flip: 'no' }, 'flip is "no": expected boolean.'],
    [{ unlabelled: 1 }, 'unlabelled is 1: expected boolean.'],
    [{ allowEmptyClasses: 'yes' }, 'allowEmptyClasses is "yes": expected boolean.'],
    [{ allowMissingCaptions: 'yes', captions: 'beside' }, 'allowMissingCaptions is "yes": expected boolean.'],
    [{ captions: true }, 'captions is true: expected string.'],
    [{ captionColumn: 1 }, 'captionColumn is 1: expected string.'],
    [{ imageColumn: 1 }, 'imageColumn is 1: expected string.'],
    [{ labelColumn: 1 }, 'labelColumn is 1: expected string.'],
    [{ latents: 'taesd' }, `latents is "taesd": ${AUTOENCODER}.`],
    [{ latents: { ...blockMoments, batchSize: 0 } }, /^the preparation's options: latents is \{.*expected "none", or/],
    [{ features: 'hog' }, 'features is "hog": expected array.'],
    [{ features: ['hog'] }, 'features.0 is "hog": expected an encoder, as openFeatureEncoder gives it.'],
    [{ features: [{ ...tokenMeans, encode: 1 }] }, 'features.0.encode is 1: expected a function.'],
    [{ features: [{ ...tokenMeans, width: 0 }] }, 'features.0.width is 0: expected number to be >0.'],
    [{ world: 2 }, 'world is 2: expected a World, as withProcesses gives it.'],
    [{ signal: {} }, 'signal is {}: expected an AbortSignal.'],
    [{ onProgress: 1 }, 'onProgress is 1: expected a function.'],
    [{ onNotice: 'log' }, 'onNotice is "log": expected a function.'],
  ] as never)('%j', async (wrong, sentence) => {
    const options = { ...setup(pictures(2)), ...wrong }
    const refusal = await prepareDataset(options as never).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(ConfigurationError)
    if (typeof sentence === 'string')
      expect(refusal).toMatchObject({ message: `the preparation's options: ${sentence}` })
    else expect(refusal).toMatchObject({ message: expect.stringMatching(sentence) })
    expect(existsSync(options.out)).toBe(false)
  })

  test.each([
    ['a number', 3, 'out is 3: expected string.'],
    ['nothing', '', 'out is "": expected string to have >=1 characters.'],
  ])('a folder that is %s', async (_, out, sentence) => {
    await expect(prepareDataset({ ...setup(pictures(1)), out } as never)).rejects.toThrow(
      new ConfigurationError(`the preparation's options: ${sentence}`),
    )
  })

  test('what is left out or undefined has its default', async () => {
    const names = ['transform', 'wideHeight', 'onCorrupt', 'latents', 'features', 'featurePatch', 'flip', 'maxImages']
    const more = ['world', 'signal', 'onProgress', 'onNotice', 'unlabelled', 'captions', 'imageColumn', 'labelColumn']
    const nothing = Object.fromEntries([...names, ...more].map((name) => [name, undefined]))
    const options = setup(pictures(2))
    const info = await prepareDataset({ ...options, ...nothing })
    expect(await prepareDataset(options)).toEqual(info)
  })
})
