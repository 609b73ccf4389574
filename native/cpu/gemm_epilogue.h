// The epilogues of gemm.cpp: a finished tile of acc, still in the L1 cache, becomes C.
#pragma once

#include "cpu/gemm.h"
#include "cpu/gemm_microkernel.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Where a tile lies in C.
struct TilePlace {
  int64_t row;
  int64_t rows;
  int64_t column;
  int64_t columns;
};

inline Vec loadLanes(const float* from, int count) { return count == kLanes ? load(from) : loadPartial(from, count); }
inline void storeLanes(float* to, Vec v, int count) {
  if (count == kLanes)
    store(to, v);
  else
    storePartial(to, v, count);
}

template <GemmEpilogueKind kind, bool accumulate>
void finishTile(const GemmArgs& args, const float* tile, const TilePlace& place) {
  using Kind = GemmEpilogueKind;
  constexpr bool kBackward =
      kind == Kind::geluTanhBackward || kind == Kind::geluErfBackward || kind == Kind::quickGeluBackward || kind == Kind::siluBackward;
  constexpr bool kHasBias = kind != Kind::none && !kBackward;
  constexpr bool kHasAddend = kind == Kind::biasAddend || kind == Kind::biasAddendRelu;
  const GemmEpilogue& e = args.epilogue;
  for (int64_t i = 0; i < place.rows; ++i) {
    const int64_t row = place.row + i;
    float* c = args.c + row * args.ldc + place.column;
    float* aux = e.aux == nullptr ? nullptr : e.aux + row * e.auxStride + place.column;
    const float* beside = nullptr;  // the other row that this kind reads
    const float* gate = nullptr;
    if constexpr (kind == Kind::biasGatedResidual) {
      beside = e.residual + row * e.residualStride + place.column;
      gate = e.gate + row / e.rowsPerGate * e.gateStride + place.column;
    }
    if constexpr (kHasAddend) beside = e.addend + row % e.addendRows * e.addendStride + place.column;

    for (int64_t j = 0; j < place.columns; j += kLanes) {
      const int count = static_cast<int>(place.columns - j < kLanes ? place.columns - j : kLanes);
      Vec v = load(tile + i * kTileColumns + j);
      if constexpr (kHasBias)
        if (e.bias != nullptr) v += loadLanes(e.bias + place.column + j, count);

      if constexpr (kind == Kind::biasGeluTanh || kind == Kind::biasGeluErf || kind == Kind::biasQuickGelu || kind == Kind::biasSilu) {
        if (aux != nullptr) storeLanes(aux + j, v, count);
        v = kind == Kind::biasGeluTanh    ? geluTanh(v)
            : kind == Kind::biasGeluErf   ? geluErf(v)
            : kind == Kind::biasQuickGelu ? quickGelu(v)
                                          : silu(v);
      }
      if constexpr (kind == Kind::biasGatedResidual) {
        if (aux != nullptr) storeLanes(aux + j, v, count);
        v = loadLanes(beside + j, count) + loadLanes(gate + j, count) * v;
      }
      if constexpr (kHasAddend) v += loadLanes(beside + j, count);
      // Not maximum(): a NaN stays one, as in torch.
      if constexpr (kind == Kind::biasRelu || kind == Kind::biasAddendRelu) v = v < 0.0f ? Vec{} : v;
      if constexpr (kBackward) {
        const Vec p = loadLanes(aux + j, count);
        v *= kind == Kind::geluTanhBackward    ? geluTanhDerivative(p)
             : kind == Kind::geluErfBackward   ? geluErfDerivative(p)
             : kind == Kind::quickGeluBackward ? quickGeluDerivative(p)
                                               : siluDerivative(p);
      }
      if constexpr (accumulate) v += loadLanes(c + j, count);
      storeLanes(c + j, v, count);
    }
  }
}

using FinishTile = void (*)(const GemmArgs& args, const float* tile, const TilePlace& place);

inline FinishTile finishTileFor(const GemmArgs& args) {
  using Kind = GemmEpilogueKind;
  switch (args.epilogue.kind) {
    case Kind::bias:
      return finishTile<Kind::bias, false>;
    case Kind::biasGeluTanh:
      return finishTile<Kind::biasGeluTanh, false>;
    case Kind::biasGeluErf:
      return finishTile<Kind::biasGeluErf, false>;
    case Kind::biasQuickGelu:
      return finishTile<Kind::biasQuickGelu, false>;
    case Kind::biasSilu:
      return finishTile<Kind::biasSilu, false>;
    case Kind::biasRelu:
      return finishTile<Kind::biasRelu, false>;
    case Kind::biasGatedResidual:
      return finishTile<Kind::biasGatedResidual, false>;
    case Kind::biasAddend:
      return finishTile<Kind::biasAddend, false>;
    case Kind::biasAddendRelu:
      return finishTile<Kind::biasAddendRelu, false>;
    case Kind::geluTanhBackward:
      return finishTile<Kind::geluTanhBackward, false>;
    case Kind::geluErfBackward:
      return finishTile<Kind::geluErfBackward, false>;
    case Kind::quickGeluBackward:
      return finishTile<Kind::quickGeluBackward, false>;
    case Kind::siluBackward:
      return finishTile<Kind::siluBackward, false>;
    default:
      return args.accumulate ? finishTile<Kind::none, true> : finishTile<Kind::none, false>;
  }
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
