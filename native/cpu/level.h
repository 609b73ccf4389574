// The CPU levels: every kernel file is compiled once per level, and the run time picks the highest that the CPU has.
//
// A kernel family is a struct of function pointers (its "table"), declared in cpu/<family>.h with
//     REPA_CPU_KERNELS(AttentionKernels, attentionKernels);
// and defined at the end of cpu/<family>.cpp, which is compiled once per level with -DREPA_LEVEL=<level>, with
//     template <>
//     const AttentionKernels& attentionKernels<CpuLevel::REPA_LEVEL>() { static constexpr AttentionKernels table = {...}; return table; }
// Callers say attentionKernels().forward(...). All code of such a .cpp lives in namespace repa::cpu::REPA_LEVEL, so that
// the linker never merges an AVX-512 copy of an inline function into the portable path.
#pragma once

namespace repa::cpu {

enum class CpuLevel { portable, avx2, avx512 };

/// The level in use: the highest that this CPU and this build have, or the one that REPA_CPU_LEVEL names
/// (portable, avx2, avx512). Decided once. Throws repa::Error when REPA_CPU_LEVEL names one that is not there.
CpuLevel cpuLevel();

/// Whether this build has kernels for the level and this CPU and its operating system can run them.
bool cpuLevelIsAvailable(CpuLevel level);

/// "avx512", "avx2" or "portable".
const char* cpuLevelName(CpuLevel level);

}  // namespace repa::cpu

#if defined(__x86_64__)
#define REPA_CPU_KERNELS(Table, getter)                   \
  template <CpuLevel level>                               \
  const Table& getter();                                  \
  template <>                                             \
  const Table& getter<CpuLevel::portable>();              \
  template <>                                             \
  const Table& getter<CpuLevel::avx2>();                  \
  template <>                                             \
  const Table& getter<CpuLevel::avx512>();                \
  inline const Table& getter() {                          \
    switch (cpuLevel()) {                                 \
      case CpuLevel::avx512:                              \
        return getter<CpuLevel::avx512>();                \
      case CpuLevel::avx2:                                \
        return getter<CpuLevel::avx2>();                  \
      default:                                            \
        return getter<CpuLevel::portable>();              \
    }                                                     \
  }                                                       \
  static_assert(true)
#else
#define REPA_CPU_KERNELS(Table, getter)      \
  template <CpuLevel level>                  \
  const Table& getter();                     \
  template <>                                \
  const Table& getter<CpuLevel::portable>(); \
  inline const Table& getter() {             \
    return getter<CpuLevel::portable>();     \
  }                                          \
  static_assert(true)
#endif
