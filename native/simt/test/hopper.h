// A launch of a kernel that only Hopper's machine code has.
#pragma once

#include <string>

namespace repa::cuda::test {

/// What it is refused with, "" where it is not.
std::string hopperRefusal();

}  // namespace repa::cuda::test
