#include "core/tridiagonal_ql.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace repa {

namespace {

/// One or two are usual.
constexpr int kMostSweepsPerEigenvalue = 60;

}  // namespace

bool tridiagonalQl(double* d, double* e, int64_t n, RotationLog* log) {
  if (n == 0) return true;
  e[n - 1] = 0;
  double scale = 0;
  for (int64_t i = 0; i < n; ++i) scale = std::max({scale, std::abs(d[i]), std::abs(e[i])});
  if (scale == 0) return true;
  // Of largest element 1 nothing overflows, and an element counts as 0 where it is so against the whole matrix, as in EISPACK's tql2:
  // a singular matrix leaves a block of rounding errors none of which is small beside its neighbours, and sweeps that carry large
  // shifts through it would never end.
  for (int64_t i = 0; i < n; ++i) {
    d[i] /= scale;
    e[i] /= scale;
  }
  for (int64_t first = 0; first < n; ++first) {
    for (int sweep = 0;; ++sweep) {
      int64_t last = first;
      while (last + 1 < n && std::abs(e[last]) > std::numeric_limits<double>::epsilon()) ++last;
      if (last == first) break;
      if (sweep == kMostSweepsPerEigenvalue) return false;
      // Wilkinson's shift.
      double g = (d[first + 1] - d[first]) / (2 * e[first]);
      double r = std::hypot(g, 1.0);
      g = d[last] - d[first] + e[first] / (g + std::copysign(r, g));
      double s = 1, c = 1, p = 0;
      const size_t logged = log ? log->rotations.size() : 0;
      int64_t i = last - 1;
      for (; i >= first; --i) {
        const double f = s * e[i], b = c * e[i];
        r = std::sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r == 0) {
          // Underflow: the matrix has come apart here.
          d[i + 1] -= p;
          e[last] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        if (log) log->rotations.push_back({c, s});
      }
      if (log && log->rotations.size() > logged) log->sweeps.push_back({i + 1, last});
      if (i >= first) continue;
      d[first] -= p;
      e[first] = g;
      e[last] = 0;
    }
  }
  for (int64_t i = 0; i < n; ++i) d[i] *= scale;
  return true;
}

}  // namespace repa
