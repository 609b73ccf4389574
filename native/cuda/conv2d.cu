// 2-D convolution, channels last, as an implicit GEMM: out [pixels, O] = epilogue(image [pixels, kh kw C] · weightᵀ). Operand B is the
// weight [O, kh kw C] as it lies; operand A is gathered from the image (conv2d_image.cuh) stage by stage, while the tile of gemm_mma.cu
// (bf16 and f16, tensor cores) or gemm_ffma.cu (f32 to its last bit) multiplies the stages before:
//
//     x [N, H, W, C]  ──cp.async, 16 bytes of one pixel's channels a time──▶  stage of A  ┐
//     weight          ──cp.async──────────────────────────────────────────▶  stage of B  ┴─▶ 128 x 128 sums ─▶ epilogue ─▶ out
//
// A normalisation cannot happen on that way, which does not pass through registers: it is applied before, into scratch of x's size.
#include "cuda/conv2d.h"

#include "cuda/conv2d_image.cuh"
#include "cuda/group_norm.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kBandRows = 16;
constexpr int kPlacesBytes = kOperandRows * static_cast<int>(sizeof(WindowPlace));

template <class T, bool kAligned>
__global__ void __launch_bounds__(kMmaThreads, 2) conv2dMmaKernel(const __grid_constant__ GemmGroup group, const __grid_constant__ ConvImage image) {
  REPA_DYNAMIC_SHARED(shared);
  const TilePlace place = tilePlace<kBandRows>(group, static_cast<int>(blockIdx.x));
  const GemmProblem& problem = group.problems[0];
  const GemmArgs& args = problem.args;
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns, k = static_cast<int>(args.k);

  WindowPlace* const places = reinterpret_cast<WindowPlace*>(shared + kMmaSharedBytes);
  static_assert(kMmaThreads == kOperandRows);
  places[threadIdx.x] = windowPlace(image, firstRow + threadIdx.x);
  __syncthreads();

  ImageCopy<T, kAligned> copyA(image, places, firstRow);
  OperandCopy<T, true, kAligned> copyB(args.b, args.ldb, firstColumn, static_cast<int>(args.n), 0, k, problem.granule);
  float sums[4][8][4] = {};
  multiplyMmaTile<T, true, true>(shared, copyA, copyB, (k + kStageDepth<T> - 1) / kStageDepth<T>, sums);
  finishMmaTile<T, Epilogues::ofConvolution>(shared, sums, problem, place);
}

__global__ void __launch_bounds__(kFfmaThreads, 2) conv2dFfmaKernel(const __grid_constant__ GemmGroup group, const __grid_constant__ ConvImage image,
                                                                    bool aligned) {
  REPA_DYNAMIC_SHARED(shared);
  const TilePlace place = tilePlace<kBandRows>(group, static_cast<int>(blockIdx.x));
  const GemmProblem& problem = group.problems[0];
  const GemmArgs& args = problem.args;
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns, k = static_cast<int>(args.k);

  ImagePanel panelA(image, aligned, firstRow);
  Panel<true> panelB(args.b, args.ldb, problem.aligned, firstColumn, static_cast<int>(args.n), 0, k);
  float sums[8][8] = {};
  multiplyFfmaTile(shared, panelA, panelB, (k + kFfmaDepth - 1) / kFfmaDepth, sums);
  finishFfmaTile<Epilogues::ofConvolution>(shared, sums, problem, place);
}

/// The product that the convolution is, but for A.
GemmArgs productOf(const cpu::Conv2dArgs& args, const Tensor& weight, const Tensor& out) {
  GemmArgs product;
  product.dtype = weight.dtype();
  product.m = args.batch * args.outHeight * args.outWidth;
  product.n = args.outChannels;
  product.k = args.kernelHeight * args.kernelWidth * args.channels;
  // In A's place, which no kernel here reads, the weight says how both may be accessed.
  product.a = product.b = weight.data();
  product.lda = product.ldb = product.k;
  product.c = out.data();
  product.ldc = product.n;
  product.cDType = out.dtype();
  GemmEpilogue& e = product.epilogue;
  e.bias = args.bias;
  const bool relu = args.activation == cpu::ConvActivation::relu;
  if (args.residual) {
    e.kind = relu ? GemmEpilogueKind::biasAddendRelu : GemmEpilogueKind::biasAddend;
    e.addend = args.residual;
    e.addendStride = product.n;
    e.addendRows = product.m;
  } else {
    e.kind = relu ? GemmEpilogueKind::biasRelu : args.activation == cpu::ConvActivation::silu ? GemmEpilogueKind::biasSilu : GemmEpilogueKind::bias;
  }
  return product;
}

ConvImage imageOf(const cpu::Conv2dArgs& args, const GemmArgs& product, const Tensor& x) {
  return {.x = x.data(),
          .sampleElements = args.height * args.width * args.channels,
          .height = static_cast<int>(args.height),
          .width = static_cast<int>(args.width),
          .channels = static_cast<int>(args.channels),
          .upsampleShift = args.upsample == 2 ? 1 : 0,
          .strideHeight = static_cast<int>(args.strideHeight),
          .strideWidth = static_cast<int>(args.strideWidth),
          .padTop = static_cast<int>(args.padTop),
          .padLeft = static_cast<int>(args.padLeft),
          .rows = static_cast<int>(product.m),
          .summands = static_cast<int>(product.k),
          .outArea = Divisor(args.outHeight * args.outWidth),
          .outWidth = Divisor(args.outWidth),
          .channel = Divisor(args.channels),
          .kernelColumn = Divisor(args.kernelWidth)};
}

}  // namespace

void conv2d(cudaStream_t stream, const cpu::Conv2dArgs& args, const Tensor& input, const Tensor& weight, const Tensor& out) {
  Tensor x = input;
  if (args.coefficients || input.dtype() != weight.dtype()) {
    // Memory is stream-ordered: it may be given back right after the launches.
    x = Tensor::empty(input.device(), input.shape(), weight.dtype(), "the normalised image of a convolution");
    scaleShift(stream, input, args.coefficients, args.inputActivation, x);
  }
  const GemmArgs product = productOf(args, weight, out);
  const GemmGroup group = uncutGroup(product);
  const ConvImage image = imageOf(args, product, x);
  const GemmProblem& problem = group.problems[0];
  const unsigned tiles = static_cast<unsigned>(problem.rowTiles * problem.columnTiles);
  const bool aligned = problem.aligned && reinterpret_cast<uintptr_t>(x.data()) % 16 == 0 && args.channels * dtypeBytes(x.dtype()) % 16 == 0;
  if (weight.dtype() == DType::f32)
    return launch(stream, conv2dFfmaKernel, {.grid = dim3(tiles), .block = dim3(kFfmaThreads), .sharedBytes = kFfmaSharedBytes}, group, image, aligned);
  const LaunchShape shape{.grid = dim3(tiles), .block = dim3(kMmaThreads), .sharedBytes = kMmaSharedBytes + kPlacesBytes};
  if (weight.dtype() == DType::bf16)
    return launch(stream, aligned ? conv2dMmaKernel<bf16, true> : conv2dMmaKernel<bf16, false>, shape, group, image);
  launch(stream, aligned ? conv2dMmaKernel<f16, true> : conv2dMmaKernel<f16, false>, shape, group, image);
}

}  // namespace repa::cuda
