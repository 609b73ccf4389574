#include "simt/planted_fault.h"

#include <cstdlib>
#include <string_view>

#include "simt/scheduler.h"

namespace repa::simt {

bool isFaulty(const void* kernel) {
  static const char* const name = std::getenv("REPA_SIMT_FAULT");
  return name && *name && std::string_view(nameOfKernel(kernel)).find(name) != std::string_view::npos;
}

}  // namespace repa::simt
