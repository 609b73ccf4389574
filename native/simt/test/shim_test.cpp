// Tests of the shim itself: right kernels give right results, wrong ones are found out.
//
//     simt_shim_test [PART]        only the tests whose names contain PART
//     simt_shim_test --bug NAME    runs one planted bug, for a sanitizer to find
#include <cstdio>
#include <exception>

#include "simt/simt.h"
#include "simt/test/check.h"
#include "simt/test/child.h"

int main(int argc, char** argv) {
  using namespace repa::cuda::test;
  if (argc == 3 && std::string(argv[1]) == "--bug") return runBug(argv[2]) ? 0 : 2;
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    if (argc > 1 && std::string(test.name).find(argv[1]) == std::string::npos) continue;
    complaints().clear();
    repa::simt::setSeed(1);
    try {
      test.run();
    } catch (const std::exception& error) {
      complaints().push_back(std::string("threw: ") + error.what());
    }
    if (!repa::simt::lastFailure().empty()) {
      complaints().push_back("left the device failed: " + repa::simt::lastFailure());
      repa::simt::reset();
    }
    complaints().empty() ? ++passed : ++failed;
    if (!complaints().empty()) std::printf("FAILED %s\n", test.name);
    for (const std::string& complaint : complaints()) std::printf("  %s\n", complaint.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
