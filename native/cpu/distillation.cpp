#include "cpu/distillation.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// body(row) for all rows of `width` floats, parts of them in parallel.
template <class Body>
void forEachRow(ThreadPool& pool, int64_t rows, int64_t width, Body body) {
  const int64_t parts = rowParts(rows, width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) body(row);
  });
}

void entropy(ThreadPool& pool, const EntropyArgs& args) {
  forEachRow(pool, args.rows, args.columns, [&](int64_t row) {
    const float* p = args.p + row * args.columns;
    double sum = 0;
    for (int64_t i = 0; i < args.columns; ++i)
      if (!(p[i] <= 0)) sum -= double{p[i] * __builtin_logf(p[i])};
    args.entropy[row] = static_cast<float>(sum);
  });
}

void distillationLoss(ThreadPool& pool, const DistillationLossArgs& args) {
  const float weight = args.rowWeight * args.scale * lossScaleOf(args.state);
  const int64_t columns = args.columns;
  forEachRow(pool, args.views * args.batch, columns, [&](int64_t row) {
    const int64_t ownView = args.firstView + row / args.batch, sample = row % args.batch;
    const float* student = args.student + row * columns;
    const float* targets = args.targets + sample * columns;
    const auto target = [&](int64_t i, auto lanes) {
      Vec q = {};
      for (int64_t view = 0; view < args.teacherViews; ++view)
        if (view != ownView) q += load(targets + view * args.batch * columns + i, lanes);
      return q;
    };
    float top = student[0];
    for (int64_t i = 1; i < columns; ++i) top = student[i] > top ? student[i] : top;
    Vec sums[kSlots] = {}, masses[kSlots] = {}, products[kSlots] = {};
    forEachVector(columns, [&](int64_t i, auto lanes, int slot) {
      const Vec z = args.scale * (load(student + i, lanes) - top), q = target(i, lanes);
      sums[slot] += keep(exp(z), lanes);
      masses[slot] += q;
      products[slot] += q * z;
    });
    const float sum = sumSlots(sums), mass = sumSlots(masses);
    args.loss[row] = static_cast<float>(double{mass} * __builtin_log(double{sum}) - double{sumSlots(products)});
    if (args.dStudent == nullptr) return;
    float* dStudent = args.dStudent + row * columns;
    const float factor = weight * mass / sum;
    forEachVector(columns, [&](int64_t i, auto lanes, int) {
      const Vec z = args.scale * (load(student + i, lanes) - top);
      store(dStudent + i, factor * exp(z) - weight * target(i, lanes), lanes);
    });
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const DistillationKernels& distillationKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr DistillationKernels table = {REPA_LEVEL::entropy, REPA_LEVEL::distillationLoss};
  return table;
}

}  // namespace repa::cpu
