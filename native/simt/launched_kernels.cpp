#include "simt/launched_kernels.h"

#include <cstdlib>
#include <fstream>
#include <set>

#include "simt/dry_run.h"
#include "simt/sanitizer.h"
#include "simt/symbols.h"

namespace repa::simt {

void noteKernel(const void* kernel) {
  static const char* const path = std::getenv("REPA_SIMT_KERNELS");
  if (!path) return;
  Quiet quiet;
  static auto& ran = *new std::set<const void*>;
  const bool isFirst = ran.empty();
  if (!ran.insert(kernel).second && !isDryRun()) return;
  std::ofstream file(path, std::ios::app);
  if (isFirst)
    for (const std::string& name : kernelsInFiles(kernel)) file << "has " << name << "\n";
  file << "ran " << kernelInFile(kernel) << "\n";
}

}  // namespace repa::simt
