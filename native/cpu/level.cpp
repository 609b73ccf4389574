#include "cpu/level.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

// The build says which levels it compiled the kernels for: REPA_BUILD_HAS_AVX2, REPA_BUILD_HAS_AVX512.
// Portable is always there.

namespace repa::cpu {
namespace {

bool buildHas(CpuLevel level) {
  switch (level) {
    case CpuLevel::avx512:
#if defined(__x86_64__) && defined(REPA_BUILD_HAS_AVX512)
      return true;
#else
      return false;
#endif
    case CpuLevel::avx2:
#if defined(__x86_64__) && defined(REPA_BUILD_HAS_AVX2)
      return true;
#else
      return false;
#endif
    default:
      return true;
  }
}

#if defined(__x86_64__)
/// clang has no name for it in __builtin_cpu_supports before 19.
bool hasF16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/// Exactly the instruction sets that the level's files are compiled with. __builtin_cpu_supports also asks whether the
/// operating system saves the wider registers.
bool cpuHas(CpuLevel level) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  switch (level) {
    case CpuLevel::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case CpuLevel::avx2:
      return avx2 && hasF16c();
    default:
      return true;
  }
#else
  return level == CpuLevel::portable;
#endif
}

CpuLevel levelNamed(std::string_view name) {
  for (CpuLevel level : {CpuLevel::portable, CpuLevel::avx2, CpuLevel::avx512}) {
    if (name != cpuLevelName(level)) continue;
    if (!buildHas(level))
      throw Error(ErrorCode::invalidArgument, "REPA_CPU_LEVEL asks for " + std::string(name) +
                                                  ", but this build of repa-native has no kernels for it. Unset "
                                                  "REPA_CPU_LEVEL to use the best level that is there.");
    if (!cpuHas(level))
      throw Error(ErrorCode::invalidArgument, "REPA_CPU_LEVEL asks for " + std::string(name) +
                                                  ", but this CPU or its operating system does not support it. Unset "
                                                  "REPA_CPU_LEVEL to use the best level that is there.");
    return level;
  }
  throw Error(ErrorCode::invalidArgument,
              "REPA_CPU_LEVEL must be portable, avx2 or avx512, but is '" + std::string(name) + "'.");
}

CpuLevel decideLevel() {
  const char* wanted = std::getenv("REPA_CPU_LEVEL");
  if (wanted != nullptr && *wanted != '\0') return levelNamed(wanted);
  for (CpuLevel level : {CpuLevel::avx512, CpuLevel::avx2})
    if (cpuLevelIsAvailable(level)) return level;
  return CpuLevel::portable;
}

}  // namespace

CpuLevel cpuLevel() {
  static const CpuLevel level = decideLevel();
  return level;
}

bool cpuLevelIsAvailable(CpuLevel level) { return buildHas(level) && cpuHas(level); }

const char* cpuLevelName(CpuLevel level) {
  switch (level) {
    case CpuLevel::avx512:
      return "avx512";
    case CpuLevel::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

}  // namespace repa::cpu
