#include "cpu/symmetric_eigen.h"

#include <cmath>

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/pair_block.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

using Doubles = PairVector<double>::type;
constexpr int64_t kDoubles = kPairLanes<double>;

static inline Doubles loadDoubles(const double* from) {
  Doubles v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
static inline void storeDoubles(double* to, Doubles v) { std::memcpy(to, &v, sizeof v); }

double dot(const double* a, const double* b, int64_t count) {
  Doubles sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kDoubles <= count; i += 4 * kDoubles)
    for (int s = 0; s < 4; ++s) sums[s] += loadDoubles(a + i + s * kDoubles) * loadDoubles(b + i + s * kDoubles);
  const Doubles all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int64_t lane = 0; lane < kDoubles; ++lane) sum += all[lane];
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// to += factor * from.
void addScaled(double* to, double factor, const double* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

/// Against a matrix of largest element 1: far below the rounding of its elements.
constexpr double kNegligible = 0x1p-100;

double largestOf(const double* x, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
  return largest;
}

/// x becomes the v of H = 1 - tau v v^T, v[0] = 1, with H x = beta e_0 (LAPACK's dlarfg). What is at most `negligible` counts as 0: the
/// part of a singular matrix that holds noise of noise would end in denormal numbers, by whose inverse nothing can be scaled.
double reflect(double* x, int64_t count, double negligible, double& tau) {
  const double largest = largestOf(x, count);
  const double alpha = x[0];
  tau = 0;
  x[0] = 1;
  if (largest <= negligible) {
    for (int64_t i = 1; i < count; ++i) x[i] = 0;
    return 0;
  }
  // Scaled: the squares of what is small would vanish.
  double squares = 0;
  for (int64_t i = 1; i < count; ++i) squares += (x[i] / largest) * (x[i] / largest);
  if (squares == 0) return alpha;
  const double norm = largest * std::sqrt((alpha / largest) * (alpha / largest) + squares);
  const double beta = alpha > 0 ? -norm : norm;
  tau = (beta - alpha) / beta;
  const double factor = 1 / (alpha - beta);
  for (int64_t i = 1; i < count; ++i) x[i] *= factor;
  return beta;
}

/// Rows of a chunk of the product with a vector: some tens of microseconds.
constexpr int64_t kProductRows = 32;

struct Panel {
  double* v;  // [kReflectionPanel][n]
  double* w;  // [kReflectionPanel][n]
};

/// matrix -= sum over the panel of v w^T + w v^T, for rows and columns from `first` on.
void updateTrailing(ThreadPool& pool, const TridiagonaliseArgs& args, const Panel& panel, int64_t used, int64_t first) {
  const int64_t n = args.n;
  constexpr int rows = 4, vectors = 2;
  pool.parallelFor(divideUp(n - first, kProductRows), [&](int64_t chunk, int) {
    const int64_t begin = first + chunk * kProductRows, end = begin + kProductRows < n ? begin + kProductRows : n;
    int64_t column = first;
    // The columns outside: a slice of the panel's vectors stays in the first-level cache for all rows of the chunk.
    for (; column + vectors * kDoubles <= n; column += vectors * kDoubles) {
      int64_t row = begin;
      for (; row + rows <= end; row += rows) {
        Doubles sums[rows][vectors];
        for (int r = 0; r < rows; ++r)
          for (int c = 0; c < vectors; ++c) sums[r][c] = loadDoubles(args.matrix + (row + r) * n + column + c * kDoubles);
        for (int64_t j = 0; j < used; ++j) {
          const double* v = panel.v + j * n;
          const double* w = panel.w + j * n;
          for (int c = 0; c < vectors; ++c) {
            const Doubles vs = loadDoubles(v + column + c * kDoubles), ws = loadDoubles(w + column + c * kDoubles);
            for (int r = 0; r < rows; ++r) sums[r][c] -= v[row + r] * ws + w[row + r] * vs;
          }
        }
        for (int r = 0; r < rows; ++r)
          for (int c = 0; c < vectors; ++c) storeDoubles(args.matrix + (row + r) * n + column + c * kDoubles, sums[r][c]);
      }
      for (; row < end; ++row) {
        double* to = args.matrix + row * n + column;
        for (int64_t j = 0; j < used; ++j) {
          addScaled(to, -panel.v[j * n + row], panel.w + j * n + column, vectors * kDoubles);
          addScaled(to, -panel.w[j * n + row], panel.v + j * n + column, vectors * kDoubles);
        }
      }
    }
    for (int64_t row = begin; row < end && column < n; ++row) {
      double* to = args.matrix + row * n + column;
      for (int64_t j = 0; j < used; ++j) {
        addScaled(to, -panel.v[j * n + row], panel.w + j * n + column, n - column);
        addScaled(to, -panel.w[j * n + row], panel.v + j * n + column, n - column);
      }
    }
  });
}

void tridiagonalise(ThreadPool& pool, const TridiagonaliseArgs& args) {
  const int64_t n = args.n;
  const Panel panel{args.scratch, args.scratch + kReflectionPanel * n};
  double* column = args.scratch + 2 * kReflectionPanel * n;
  const double negligible = kNegligible * largestOf(args.matrix, n * n);
  for (int64_t first = 0; first < n; first += kReflectionPanel) {
    const int64_t used = n - first < kReflectionPanel ? n - first : kReflectionPanel;
    for (int64_t j = 0; j < used; ++j) {
      const int64_t k = first + j, rest = n - k - 1;
      double* v = panel.v + j * n;
      double* w = panel.w + j * n;
      for (int64_t i = 0; i < n; ++i) v[i] = w[i] = 0;
      // Column k as it is now: what the panel's reflections have changed is not in the matrix yet.
      double* row = args.matrix + k * n;
      for (int64_t i = k; i < n; ++i) column[i] = row[i];
      for (int64_t before = 0; before < j; ++before) {
        addScaled(column + k, -panel.w[before * n + k], panel.v + before * n + k, n - k);
        addScaled(column + k, -panel.v[before * n + k], panel.w + before * n + k, n - k);
      }
      args.diagonal[k] = column[k];
      args.tau[k] = 0;
      args.offDiagonal[k] = 0;
      if (rest == 0) continue;
      double tau = 0;
      args.offDiagonal[k] = reflect(column + k + 1, rest, negligible, tau);
      args.tau[k] = tau;
      for (int64_t i = k + 1; i < n; ++i) row[i] = v[i] = column[i];
      if (tau == 0) continue;
      const double* reflection = v + k + 1;
      pool.parallelFor(divideUp(rest, kProductRows), [&](int64_t chunk, int) {
        const int64_t begin = k + 1 + chunk * kProductRows, end = begin + kProductRows < n ? begin + kProductRows : n;
        for (int64_t i = begin; i < end; ++i) w[i] = dot(args.matrix + i * n + k + 1, reflection, rest);
      });
      for (int64_t before = 0; before < j; ++before) {
        const double* vs = panel.v + before * n + k + 1;
        const double* ws = panel.w + before * n + k + 1;
        const double alongV = dot(vs, reflection, rest), alongW = dot(ws, reflection, rest);
        addScaled(w + k + 1, -alongW, vs, rest);
        addScaled(w + k + 1, -alongV, ws, rest);
      }
      for (int64_t i = k + 1; i < n; ++i) w[i] *= tau;
      addScaled(w + k + 1, -0.5 * tau * dot(w + k + 1, reflection, rest), reflection, rest);
    }
    if (first + used < n) updateTrailing(pool, args, panel, used, first + used);
  }
}

constexpr int64_t kPanelVectors = kVectorPanel / kDoubles;

/// rows [first, n) of the panel: x -= tau v (v^T x).
void applyReflection(double* x, const double* v, double tau, int64_t first, int64_t n) {
  Doubles along[kPanelVectors] = {};
  for (int64_t i = first; i < n; ++i)
    for (int64_t c = 0; c < kPanelVectors; ++c) along[c] += v[i] * loadDoubles(x + i * kVectorPanel + c * kDoubles);
  for (int64_t i = first; i < n; ++i) {
    const double factor = tau * v[i];
    for (int64_t c = 0; c < kPanelVectors; ++c) {
      double* at = x + i * kVectorPanel + c * kDoubles;
      storeDoubles(at, loadDoubles(at) - factor * along[c]);
    }
  }
}

/// Row i of the panel is what the rotations call column i.
const Rotation* applySweep(double* x, const RotationSweep& sweep, const Rotation* rotation) {
  Doubles after[kPanelVectors];
  for (int64_t c = 0; c < kPanelVectors; ++c) after[c] = loadDoubles(x + sweep.last * kVectorPanel + c * kDoubles);
  for (int64_t i = sweep.last - 1; i >= sweep.first; --i, ++rotation) {
    double* at = x + i * kVectorPanel;
    for (int64_t c = 0; c < kPanelVectors; ++c) {
      const Doubles before = loadDoubles(at + c * kDoubles);
      storeDoubles(at + kVectorPanel + c * kDoubles, rotation->sine * before + rotation->cosine * after[c]);
      after[c] = rotation->cosine * before - rotation->sine * after[c];
    }
  }
  for (int64_t c = 0; c < kPanelVectors; ++c) storeDoubles(x + sweep.first * kVectorPanel + c * kDoubles, after[c]);
  return rotation;
}

void eigenvectors(ThreadPool& pool, const EigenvectorArgs& args) {
  const int64_t n = args.n;
  pool.parallelFor(divideUp(n, kVectorPanel), [&](int64_t chunk, int thread) {
    const int64_t column = chunk * kVectorPanel, columns = n - column < kVectorPanel ? n - column : kVectorPanel;
    double* x = args.scratch + thread * n * kVectorPanel;
    for (int64_t i = 0; i < n * kVectorPanel; ++i) x[i] = 0;
    for (int64_t c = 0; c < columns; ++c) x[(column + c) * kVectorPanel + c] = 1;
    // Q^T = H_{n-3} ... H_0, and then the rotations, which act on its rows.
    for (int64_t k = 0; k + 1 < n; ++k)
      if (args.tau[k] != 0) applyReflection(x, args.reflections + k * n, args.tau[k], k + 1, n);
    const Rotation* rotation = args.rotations;
    for (int64_t sweep = 0; sweep < args.sweepCount; ++sweep) rotation = applySweep(x, args.sweeps[sweep], rotation);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < columns; ++c) args.out[r * n + column + c] = x[args.order[r] * kVectorPanel + c];
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const SymmetricEigenKernels& symmetricEigenKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr SymmetricEigenKernels table = {REPA_LEVEL::tridiagonalise, REPA_LEVEL::eigenvectors};
  return table;
}

}  // namespace repa::cpu
