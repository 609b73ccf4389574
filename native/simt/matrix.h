// mma.sync, ldmatrix and stmatrix (PTX ISA 9.7.14.5): a warp's matrix products and the loads and stores of their fragments.
#pragma once

#include <cstdint>

#include "simt/place.h"

namespace repa::simt {

enum class Mma { bf16K16, f16K16, bf16K8, f16K8, tf32K8 };

void mma(Mma kind, float* d, const uint32_t* a, const uint32_t* b, const Place& place);

/// 1, 2 or 4 matrices of 8 x 8 16-bit elements.
void loadMatrices(uint32_t* r, const void* row, int count, bool transposed, const Place& place);
void storeMatrices(void* row, const uint32_t* r, int count, bool transposed, const Place& place);

}  // namespace repa::simt
