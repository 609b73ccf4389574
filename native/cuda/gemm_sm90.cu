// Hopper's products in their standard tiles, 128 x 128 in turns and 256 x 128 together for weight gradients, and the choice of an instance.
//
// A weight gradient's sums are so long that its epilogue is nothing. The weight gradients of a block share a launch: all have the same k, so
// a tile of any takes as long, and blocks walk the tiles of one after those of another. SiT-XL/2 at batch 256 on 132 SMs, k = 65,536, in
// units of one uncut tile's time (0.72 ms at 790 TFLOP/s):
//
//                            tiles     alone: parts of a sum, waves, their sums (gemm.cpp)      together
//     qkv   3456 x 1152    14 x  9 = 126     1     1.00
//     proj  1152 x 1152     5 x  9 =  45     5     0.40 + 0.06
//     fc1   4608 x 1152    18 x  9 = 162     4     1.25 + 0.10
//     fc2   1152 x 4608     5 x 36 = 180     5     1.40 + 0.12
//                                    513           4.33, 7 launches                          4 waves, 97 % full, 1 launch
//
// That is 0.24 ms a block, and no sum is cut.
//
// On an H200, SiT-XL/2 at batch 256, bf16, TFLOP/s by the way results are finished, each measured once; between calls the chip's clock moved
// them by some 5 % (bench/results has them of one session):
//                                            slabs   direct
//     qkv, bias                                491      712
//     proj, gate, residual                     273      496
//     fc1, GELU, pre-activations kept          395      643
//     fc2, gate, residual                      543      663
//     fc2 dgrad, GELU', bias gradient          275      590
//     fc1 dgrad                                674      728
// A cluster of two blocks that share B by multicast, which takes a quarter off the traffic from L2, was no faster (736 at the last, 604
// at fc2): it is not L2 that limits the main loop.
#include "cuda/gemm_sm90_kernel.cuh"

namespace repa::cuda {

namespace {

Finish finishOf(const GemmArgs& args) {
  if (!isWide(args) || args.n % 8 != 0) return Finish::general;
  const GemmEpilogue& e = args.epilogue;
  const bool floats = args.cDType == DType::f32;
  const auto ifHalves = [&](Finish finish) { return floats ? Finish::general : finish; };
  switch (e.kind) {
    case GemmEpilogueKind::none:
    case GemmEpilogueKind::bias: return e.columnSums || (args.layout == GemmLayout::weightGradient && !floats) ? Finish::general : Finish::store;
    case GemmEpilogueKind::biasSilu: return ifHalves(Finish::silu);
    case GemmEpilogueKind::biasGeluTanh: return ifHalves(Finish::geluTanh);
    case GemmEpilogueKind::biasGeluErf: return ifHalves(Finish::geluErf);
    case GemmEpilogueKind::biasQuickGelu: return ifHalves(Finish::quickGelu);
    case GemmEpilogueKind::biasGatedResidual: {
      const bool oneGateATile = e.gateStride == 0 || e.rowsPerGate % kTileRows == 0 || e.rowsPerGate >= args.m;
      return floats && oneGateATile ? Finish::gatedResidual : Finish::general;
    }
    case GemmEpilogueKind::siluBackward: return ifHalves(Finish::siluBackward);
    case GemmEpilogueKind::geluTanhBackward: return ifHalves(Finish::geluTanhBackward);
    default: return Finish::general;
  }
}

template <class Args>
Finish finishOfAll(int count, Args at) {
  const Finish first = finishOf(at(0));
  for (int i = 1; i < count; ++i)
    if (finishOf(at(i)) != first) return Finish::general;
  return first;
}

}  // namespace

Finish finishSm90(const GemmGroup& group) {
  return finishOfAll(group.count, [&](int i) -> const GemmArgs& { return group.problems[i].args; });
}

std::vector<GemmTile> tilesSm90(std::span<const GemmArgs> products) {
  const Sm90Instance instance{products[0].layout, finishOfAll(static_cast<int>(products.size()), [&](int i) -> const GemmArgs& { return products[static_cast<size_t>(i)]; })};
  std::vector<GemmTile> tiles{standardTileSm90(instance.layout)};
  for (const GemmTile tile : {kTile192, kTile256}) {
    // The last of 256 columns may be half a tile; of 192 they would be multiplied for nothing.
    const bool fits = std::ranges::all_of(products, [&](const GemmArgs& args) { return tile == kTile192 ? args.n % 192 == 0 : args.n > 128; });
    if (fits && hasTileSm90(instance, tile)) tiles.push_back(tile);
  }
  return tiles;
}

void launchGemmSm90(cudaStream_t stream, const GemmGroup& group, GemmTile tile, int tiles) {
  if (tile != standardTileSm90(group.problems[0].args.layout)) return launchWideGemmSm90(stream, group, tile, tiles);
  if (tile.rows == 256) launchInTile<256, 128>(stream, group, tiles);
  else launchInTile<128, 128>(stream, group, tiles);
}

}  // namespace repa::cuda
