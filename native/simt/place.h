// Where in a kernel's source an instruction stands, for the sentences of a failure.
#pragma once

#include <source_location>

namespace repa::simt {

using Place = std::source_location;

}  // namespace repa::simt
