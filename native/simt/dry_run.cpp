#include "simt/dry_run.h"

#include <cstdlib>

namespace repa::simt {

bool isDryRun() {
  static const bool isSet = [] {
    const char* const text = std::getenv("REPA_SIMT_DRY_RUN");
    return text && *text;
  }();
  return isSet;
}

}  // namespace repa::simt
