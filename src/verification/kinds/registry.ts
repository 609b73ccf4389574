import { autoencoderKLForward, formulaAutoencoderKL, taesdForward } from './autoencoders.ts'
import { formulaInception, resNetCifarForward } from './classifiers.ts'
import { datasetFile } from './dataset.ts'
import { diffusionLoss, diffusionLossVariants, diffusionSample, diffusionSchedules } from './diffusion.ts'
import { dinov2Forward, dinov2Intermediate, formulaDinov2RepaTeacher, tablePosResample } from './dinov2.ts'
import { ditForward } from './dit.ts'
import { formulaSit } from './formula.ts'
import { imageDecode, imageMustFail } from './images.ts'
import type { Runner } from './kind.ts'
import { metricAlignment, metricFrechet, metricInceptionScore, metricPrecisionRecall } from './metrics.ts'
import { numpyFile } from './numpy.ts'
import { preprocessCenterCrop, preprocessGrid } from './preprocess.ts'
import { samplerEuler, samplerEulerMaruyama } from './samplers.ts'
import { sitForward, sitLoss } from './sit.ts'
import { tablePosEmbed, tableTimestep } from './tables.ts'
import { torchFile, torchMustFail } from './torch.ts'
import { trainLog, trainState } from './training.ts'
import { sitOriginalForward, transportOde, transportSde, transportTrainingLoss } from './transport.ts'

/** How each kind of golden file is verified. */
export const RUNNERS: ReadonlyMap<string, Runner> = new Map([
  ['sit.forward', sitForward],
  ['sit.loss', sitLoss],
  ['sampler.euler', samplerEuler],
  ['sampler.euler-maruyama', samplerEulerMaruyama],
  ['train.log', trainLog],
  ['train.state', trainState],
  ['sit-orig.forward', sitOriginalForward],
  ['transport.loss', transportTrainingLoss],
  ['transport.ode', transportOde],
  ['transport.sde', transportSde],
  ['dit.forward', ditForward],
  ['diffusion.loss', diffusionLoss],
  ['diffusion.loss-variants', diffusionLossVariants],
  ['diffusion.schedules', diffusionSchedules],
  ['diffusion.sample', diffusionSample],
  ['dinov2.forward', dinov2Forward],
  ['dinov2.intermediate', dinov2Intermediate],
  ['table.pos-embed', tablePosEmbed],
  ['table.timestep', tableTimestep],
  ['table.pos-resample', tablePosResample],
  ['formula.sit', formulaSit],
  ['formula.dinov2-repa-teacher', formulaDinov2RepaTeacher],
  ['autoencoder-kl.forward', autoencoderKLForward],
  ['formula.autoencoder-kl', formulaAutoencoderKL],
  ['taesd.forward', taesdForward],
  ['formula.inception-fid', formulaInception],
  ['resnet-cifar.forward', resNetCifarForward],
  ['metric.alignment', metricAlignment],
  ['metric.frechet', metricFrechet],
  ['metric.precision-recall', metricPrecisionRecall],
  ['metric.inception-score', metricInceptionScore],
  ['preprocess.center-crop', preprocessCenterCrop],
  ['preprocess.grid', preprocessGrid],
  ['image.decode', imageDecode],
  ['image.must-fail', imageMustFail],
  ['torch.file', torchFile],
  ['torch.must-fail', torchMustFail],
  ['numpy.file', numpyFile],
  ['dataset.file', datasetFile],
])

/** Kinds of files that others refer to: nothing to compute of their own. */
export const DATA_KINDS: ReadonlySet<string> = new Set([
  'params',
  'expected',
  'formula.table',
  'train.inputs',
  'image.file',
])
