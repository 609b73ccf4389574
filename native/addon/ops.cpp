// Every op as a JS function: name, C++ function, names of the arguments in order. src/native.ts has the same list with types.
#include "addon/bind.h"
#include "addon/families.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/attention_alignment.h"
#include "ops/concatenate.h"
#include "ops/contrast.h"
#include "ops/conv2d.h"
#include "ops/diffusion.h"
#include "ops/distillation.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/group_norm.h"
#include "ops/half_block.h"
#include "ops/hybrid_loss.h"
#include "ops/interpolant.h"
#include "ops/joined_tokens.h"
#include "ops/latents.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/linear_combination.h"
#include "ops/loss.h"
#include "ops/norm_factors.h"
#include "ops/optimizer.h"
#include "ops/patch.h"
#include "ops/patch_embed.h"
#include "ops/pixels.h"
#include "ops/pooling.h"
#include "ops/random.h"
#include "ops/reduction.h"
#include "ops/residual.h"
#include "ops/resize.h"
#include "ops/rope.h"
#include "ops/smooth_l1.h"
#include "ops/softmax.h"
#include "ops/statistics.h"
#include "ops/token_grid.h"
#include "ops/tokens.h"
#include "ops/velocity_cosine.h"

namespace repa::addon {

namespace {

const Export kExports[] = {
    {"activation", bind<ops::activation>, {"x", "kind"}},
    {"activationBackward", bind<ops::activationBackward>, {"dOut", "x", "kind"}},
    {"swiGLU", bind<ops::swiGLU>, {"x"}},
    {"swiGLUBackward", bind<ops::swiGLUBackward>, {"dOut", "x"}},

    {"attention", bind<ops::attention>, {"qkv", "heads", "keepLse"}},
    {"causalAttention", bind<ops::causalAttention>, {"qkv", "heads"}},
    {"attentionBackward", bind<ops::attentionBackward>, {"dO", "qkv", "o", "lse", "heads", "dBias", "accumulate"}},
    {"qkNorm", bind<ops::qkNorm>, {"qkv", "qWeight", "qBias", "kWeight", "kBias", "heads", "norm", "epsilon"}},
    {"qkNormBackward", bind<ops::qkNormBackward>,
     {"dNormed", "qkv", "qWeight", "kWeight", "mean", "rstd", "heads", "norm", "dqWeight", "dqBias", "dkWeight", "dkBias", "accumulate"}},
    {"attentionAlignmentLoss", bind<ops::attentionAlignmentLoss>,
     {"qkv", "heads", "teacher", "teacherHeads", "aligned", "weight", "state", "wantGradient"}},
    {"rotate", bind<ops::rotate>, {"qkv", "cos", "sin", "heads", "transposed"}},

    {"conv2d", bind<ops::conv2d>,
     {"x", "coefficients", "inputActivation", "upsample", "weight", "bias", "stride", "padding", "residual", "intoResidual", "activation", "dtype"}},
    {"groupNormCoefficients", bind<ops::groupNormCoefficients>, {"x", "weight", "bias", "groups", "epsilon"}},
    {"groupNormApply", bind<ops::groupNormApply>, {"x", "coefficients", "activation", "dtype"}},
    {"pool2d", bind<ops::pool2d>, {"x", "kind", "kernel", "stride", "padding"}},
    {"softmax", bind<ops::softmax>, {"x", "scale", "dtype"}},
    {"concatenate", bind<ops::concatenate>, {"parts"}},

    {"accumulateCovariance", bind<ops::accumulateCovariance>, {"x", "shift", "sum", "products"}},
    {"float64Product", bind<ops::float64Product>, {"a", "b"}},
    {"symmetricEigen", bind<ops::symmetricEigen>, {"matrix", "vectors"}},
    {"neighbourRadii", bind<ops::neighbourRadii>, {"points", "x", "k"}},
    {"insideBalls", bind<ops::insideBalls>, {"points", "centres", "squaredRadii"}},
    {"mostSimilar", bind<ops::mostSimilar>, {"x", "k", "includeSelf"}},

    {"add", bind<ops::add>, {"a", "b"}},
    {"scale", bind<ops::scale>, {"x", "factor"}},
    {"clamp", bind<ops::clamp>, {"x", "low", "high"}},
    {"softClamp", bind<ops::softClamp>, {"x", "limit"}},
    {"accumulate", bind<ops::accumulate>, {"sum", "x"}},
    {"fill", bind<ops::fill>, {"out", "value"}},
    {"copy", bind<ops::copy>, {"out", "x"}},

    {"combineSamples", bind<ops::combineSamples>, {"x", "y", "rows", "coefficients"}},
    {"denoisingStep", bind<ops::denoisingStep>, {"x", "prediction", "noise", "coefficients", "clip"}},
    {"guide", bind<ops::guide>, {"prediction", "scale", "channels"}},
    {"resizeChannels", bind<ops::resizeChannels>, {"x", "channels"}},

    {"timestepEmbedding", bind<ops::timestepEmbedding>, {"t", "dim", "maxPeriod"}},
    {"fourierFeatures", bind<ops::fourierFeatures>, {"t", "frequencies"}},
    {"embedding", bind<ops::embedding>, {"table", "ids"}},
    {"embeddingBackward", bind<ops::embeddingBackward>, {"dOut", "ids", "dTable", "accumulate"}},

    {"interpolant", bind<ops::interpolant>, {"x", "noise", "t", "path"}},
    {"samplePosterior", bind<ops::samplePosterior>, {"moments", "noise", "scale", "bias"}},
    {"posteriorMoments", bind<ops::posteriorMoments>, {"parameters"}},
    {"standardize", bind<ops::standardize>, {"x", "mean", "std"}},

    {"layerNorm", bind<ops::layerNorm>, {"x", "weight", "bias", "epsilon", "dtype"}},
    {"layerNormBackward", bind<ops::layerNormBackward>, {"dOut", "x", "mean", "rstd", "weight", "dWeight", "dBias", "accumulate"}},
    {"normModulate", bind<ops::normModulate>, {"x", "modulation", "shiftChunk", "scaleChunk", "norm", "epsilon", "dtype"}},
    {"normModulateBackward", bind<ops::normModulateBackward>,
     {"dOut", "x", "mean", "rstd", "modulation", "shiftChunk", "scaleChunk", "norm", "dResidual", "dModulation"}},
    {"normFactors", bind<ops::normFactors>, {"modulation", "weights"}},
    {"normFactorsBackward", bind<ops::normFactorsBackward>, {"dModulation", "modulation", "weights", "dWeights", "accumulate"}},

    {"linear", bind<ops::linear>, {"x", "weight", "bias", "activation", "keepPre", "dtype"}},
    {"linearGatedResidual", bind<ops::linearGatedResidual>, {"x", "weight", "bias", "residual", "modulation", "gateChunk", "keepY"}},
    {"linearScaledResidual", bind<ops::linearScaledResidual>, {"x", "weight", "bias", "residual", "scale"}},
    {"linearInputGradient", bind<ops::linearInputGradient>, {"dOut", "weight", "pre", "activation", "dBias", "accumulateBias"}},
    {"linearWeightGradient", bind<ops::linearWeightGradient>, {"dOut", "x", "dWeight", "accumulate"}},
    {"linearWeightGradients", bind<ops::linearWeightGradients>, {"dOut", "x", "dWeight", "accumulate"}},

    {"linearCombination", bind<ops::linearCombination>, {"coefficients", "values"}},
    {"cast", bind<ops::cast>, {"x", "dtype"}},

    {"cosineAlignmentLoss", bind<ops::cosineAlignmentLoss>, {"projection", "target", "weight", "state", "wantGradient"}},
    {"velocityLoss", bind<ops::velocityLoss>, {"prediction", "target", "weight", "state", "wantGradient"}},
    {"velocityCosineLoss", bind<ops::velocityCosineLoss>, {"prediction", "target", "weight", "state", "wantGradient"}},
    {"smoothL1Loss", bind<ops::smoothL1Loss>, {"prediction", "target", "beta", "weight", "state", "wantGradient"}},

    {"l2Normalize", bind<ops::l2Normalize>, {"x"}},
    {"l2NormalizeBackward", bind<ops::l2NormalizeBackward>, {"dUnit", "unit", "norms", "dtype"}},
    {"crossEntropyLoss", bind<ops::crossEntropyLoss>, {"logits", "temperature", "weight", "state", "wantGradient"}},
    {"squaredDistances", bind<ops::squaredDistances>, {"x"}},
    {"dispersiveLoss", bind<ops::dispersiveLoss>, {"distances", "scale", "weight", "state", "wantGradient"}},

    {"entropy", bind<ops::entropy>, {"p"}},
    {"distillationLoss", bind<ops::distillationLoss>,
     {"student", "targets", "firstView", "temperature", "weight", "state", "wantGradient"}},

    {"hybridLoss", bind<ops::hybridLoss>,
     {"prediction", "target", "x0", "t", "table", "mseWeight", "vbWeight", "throughMean", "state", "wantGradient"}},

    {"sumOfSquares", bind<ops::sumOfSquares>, {"gradient", "frozen", "sums", "index"}},
    {"clipGradientNorm", bind<ops::clipGradientNorm>, {"sums", "state", "maxNorm", "gradientScale", "holdsLate"}},
    {"adamW", bind<ops::adamW>,
     {"weight", "gradient", "firstMoment", "secondMoment", "ema", "computeWeight", "frozen", "undecayed", "state", "late", "learningRate", "beta1", "beta2", "epsilon",
      "weightDecay", "emaDecay", "learningRateFactor"}},
    {"followWeights", bind<ops::followWeights>, {"weight", "ema", "computeWeight", "state", "emaDecay"}},

    {"patchEmbed", bind<ops::patchEmbed>, {"image", "patch", "weight", "bias", "positions"}},
    {"patchEmbedBackward", bind<ops::patchEmbedBackward>, {"dTokens", "image", "patch", "dtype", "dWeight", "dBias", "accumulate"}},
    {"patchify", bind<ops::patchify>, {"image", "patch", "dtype"}},
    {"patchifyBackward", bind<ops::patchifyBackward>, {"dPatches", "channels", "height", "width", "patch"}},
    {"unpatchify", bind<ops::unpatchify>, {"tokens", "channels", "height", "width", "patch"}},
    {"unpatchifyBackward", bind<ops::unpatchifyBackward>, {"dImage", "patch", "dtype"}},

    {"normalizeImages", bind<ops::normalizeImages>, {"images", "divisor", "mean", "std"}},
    {"toUint8", bind<ops::toUint8>, {"images", "shift", "scale", "offset"}},
    {"hog", bind<ops::hog>, {"images", "gridHeight", "gridWidth"}},

    {"fillUniform", bind<ops::fillUniform>, {"out", "low", "high", "seed", "stream", "step", "first"}},
    {"fillNormal", bind<ops::fillNormal>, {"out", "std", "seed", "stream", "step", "first"}},
    {"fillTimesteps", bind<ops::fillTimesteps>, {"out", "weighting", "path", "shift", "seed", "stream", "step", "first"}},
    {"fillIntegers", bind<ops::fillIntegers>, {"out", "low", "high", "seed", "stream", "step", "first"}},
    {"dropLabels", bind<ops::dropLabels>, {"labels", "probability", "nullClass", "seed", "stream", "step", "first"}},
    {"drawTokens", bind<ops::drawTokens>, {"ids", "places", "seed", "stream", "step", "first"}},

    {"columnSum", bind<ops::columnSum>, {"x", "out", "accumulate"}},
    {"sum", bind<ops::sum>, {"x", "factor"}},

    {"gatedResidualNormModulate", bind<ops::gatedResidualNormModulate>,
     {"x", "y", "modulation", "gateChunk", "shiftChunk", "scaleChunk", "norm", "epsilon"}},
    {"gatedResidualNormModulateBackward", bind<ops::gatedResidualNormModulateBackward>,
     {"dOut", "dStream", "stream", "mean", "rstd", "y", "modulation", "gateChunk", "shiftChunk", "scaleChunk", "norm", "dModulation", "dBias", "accumulateBias"}},

    {"gatedResidual", bind<ops::gatedResidual>, {"x", "y", "modulation", "gateChunk"}},
    {"gatedResidualBackward", bind<ops::gatedResidualBackward>, {"dOut", "y", "modulation", "gateChunk", "dModulation", "dBias", "accumulateBias"}},
    {"layerScale", bind<ops::layerScale>, {"x", "y", "gamma"}},
    {"layerScaleBackward", bind<ops::layerScaleBackward>, {"dOut", "y", "gamma", "dGamma", "accumulate"}},

    {"resize", bind<ops::resize>, {"x", "outHeight", "outWidth", "filter", "antialias", "scaleHeight", "scaleWidth"}},

    {"prependTokens", bind<ops::prependTokens>, {"patches", "patchPositions", "classToken", "classPosition", "registers"}},
    {"dropTokens", bind<ops::dropTokens>, {"x", "first"}},
    {"gatherTokens", bind<ops::gatherTokens>, {"x", "ids", "fill"}},
    {"gatherTokensBackward", bind<ops::gatherTokensBackward>, {"dOut", "ids", "tokens", "filled"}},
    {"mergeTokens", bind<ops::mergeTokens>, {"base", "x", "places"}},
    {"joinTokens", bind<ops::joinTokens>, {"first", "rest", "zeros"}},
    {"splitTokens", bind<ops::splitTokens>, {"x", "first"}},

    {"unfoldTokens", bind<ops::unfoldTokens>, {"x", "rows", "columns"}},
    {"unfoldTokensBackward", bind<ops::unfoldTokensBackward>, {"dOut", "rows", "columns"}},
    {"standardizeTokens", bind<ops::standardizeTokens>, {"x", "share", "epsilon"}},
};

}  // namespace

void addOpExports(Napi::Env env, Napi::Object exports) { addExports(env, exports, kExports); }

}  // namespace repa::addon
