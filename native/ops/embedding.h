// What becomes of a sample's time and label before they condition the blocks.
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// t [B] -> [B, dim] = [cos(t f_0 ..), sin(t f_0 ..)], f_i = maxPeriod^(-i/h), h = floor(dim / 2); a zero behind when dim is odd.
Tensor timestepEmbedding(const Tensor& t, int64_t dim, double maxPeriod);

/// t [B], frequencies [F] -> [B, 2F] = [sin(2 pi t f_0 ..), cos(2 pi t f_0 ..)].
Tensor fourierFeatures(const Tensor& t, const Tensor& frequencies);

/// table [rows, D], ids i32 [N] -> [N, D]. An id outside the table gives a row of NaN.
Tensor embedding(const Tensor& table, const Tensor& ids);

/// Writes, or with `accumulate` adds, the table's gradient; dOut [N, D].
void embeddingBackward(const Tensor& dOut, const Tensor& ids, const Tensor& dTable, bool accumulate);

}  // namespace repa::ops
