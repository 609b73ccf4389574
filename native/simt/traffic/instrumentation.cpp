// The functions that a compiler calls for -fsanitize=thread, with a counter behind them in place of ThreadSanitizer.
#include <cstddef>
#include <cstring>

#include "simt/traffic/traffic.h"

using repa::simt::watching;

namespace {

void access(const void* pc, const void* address, size_t bytes, bool store) {
  if (watching) watching->access(pc, address, bytes, store);
}

/// What is larger than a vector is no one access.
void copied(const void* pc, const void* to, const void* from, size_t bytes) {
  if (bytes > 16) return;
  access(pc, from, bytes, false);
  access(pc, to, bytes, true);
}

}  // namespace

extern "C" {

#define INSTRUMENTED(bytes)                                                                                                 \
  void __tsan_read##bytes(void* address) { access(__builtin_return_address(0), address, bytes, false); }                   \
  void __tsan_write##bytes(void* address) { access(__builtin_return_address(0), address, bytes, true); }                   \
  void __tsan_unaligned_read##bytes(void* address) { access(__builtin_return_address(0), address, bytes, false); }         \
  void __tsan_unaligned_write##bytes(void* address) { access(__builtin_return_address(0), address, bytes, true); }
INSTRUMENTED(1)
INSTRUMENTED(2)
INSTRUMENTED(4)
INSTRUMENTED(8)
INSTRUMENTED(16)
#undef INSTRUMENTED

// Of emulated instructions, which the shim tells the observer of.
#define EMULATED(bytes)                         \
  void __tsan_read##bytes##_pc(void*, void*) {} \
  void __tsan_write##bytes##_pc(void*, void*) {}
EMULATED(2)
EMULATED(4)
EMULATED(8)
EMULATED(16)
#undef EMULATED
void __tsan_read_range(void*, unsigned long) {}
void __tsan_write_range(void*, unsigned long) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// Clang's, by which vectors are copied whole.
void* __tsan_memmove(void* to, const void* from, unsigned long bytes) {
  copied(__builtin_return_address(0), to, from, bytes);
  return std::memmove(to, from, bytes);
}
void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
  copied(__builtin_return_address(0), to, from, bytes);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memset(void* to, int value, unsigned long bytes) {
  if (bytes <= 16) access(__builtin_return_address(0), to, bytes, true);
  return std::memset(to, value, bytes);
}

void* __tsan_get_current_fiber() { return nullptr; }
void* __tsan_create_fiber(unsigned) { return nullptr; }
void __tsan_switch_to_fiber(void*, unsigned) {
  if (watching) watching->fence();
}

void __tsan_init() {}
void __tsan_acquire(void*) {}
void __tsan_release(void*) {}
void __tsan_vptr_update(void**, void*) {}
void AnnotateIgnoreReadsBegin(const char*, int) {}
void AnnotateIgnoreReadsEnd(const char*, int) {}
void AnnotateIgnoreWritesBegin(const char*, int) {}
void AnnotateIgnoreWritesEnd(const char*, int) {}
void AnnotateIgnoreSyncBegin(const char*, int) {}
void AnnotateIgnoreSyncEnd(const char*, int) {}

}
