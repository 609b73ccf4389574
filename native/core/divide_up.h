// How many of one size cover another.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace repa {

/// ⌈a / b⌉ of a ≥ 0 and b > 0. Static so that a file compiled for one CPU level never lends its copy to another.
REPA_HOST_DEVICE static constexpr int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace repa
