// The hooks that tell the sanitizers about fibers.
//
// ThreadSanitizer: every CUDA thread is a fiber of its own, switched to without synchronisation; what synchronises is said by
// acquire and release at barriers. The shim's own sources are built without instrumentation (REPA_SIMT_TSAN), and what an
// emulated instruction reads or writes on a kernel's behalf is reported here, under the kernel's own line.
// AddressSanitizer: every switch of stacks is announced.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_THREAD__) || defined(REPA_SIMT_TSAN)
#define SIMT_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#endif

#if defined(SIMT_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_func_entry(void* callerPc);
void __tsan_func_exit(void);
void __tsan_read2_pc(void* address, void* pc);
void __tsan_read4_pc(void* address, void* pc);
void __tsan_read8_pc(void* address, void* pc);
void __tsan_read16_pc(void* address, void* pc);
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write2_pc(void* address, void* pc);
void __tsan_write4_pc(void* address, void* pc);
void __tsan_write8_pc(void* address, void* pc);
void __tsan_write16_pc(void* address, void* pc);
void __tsan_write_range(void* address, unsigned long size);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif
#if defined(SIMT_ASAN)
extern "C" {
void __asan_poison_memory_region(const volatile void* address, size_t size);
void __asan_unpoison_memory_region(const volatile void* address, size_t size);
void __sanitizer_start_switch_fiber(void** fakeStackSave, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* fakeStackSave, const void** bottomOld, size_t* sizeOld);
}
#endif

namespace repa::simt {

#if defined(SIMT_TSAN)

inline void acquire(void* object) { __tsan_acquire(object); }
inline void release(void* object) { __tsan_release(object); }

/// A fiber inherits what its maker has seen. These come after what was before the process's first launch and after nothing else: the first
/// is made there, by the host, and makes the others.
inline void* fiberOfBegin = nullptr;
inline void* createFiberOfBegin() {
  void* const self = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiberOfBegin, 1);
  void* const fiber = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(self, 1);
  return fiber;
}
inline void prepareFibers() {
  if (!fiberOfBegin) fiberOfBegin = __tsan_create_fiber(0);
}

/// Within its scope, this fiber's reads and writes are the shim's bookkeeping: the libc functions that it calls are intercepted.
/// ThreadSanitizer counts one thing by both names, Reads and Writes, and walks the stack whenever it is asked.
struct Quiet {
  Quiet() { AnnotateIgnoreWritesBegin("", 0); }
  ~Quiet() { AnnotateIgnoreWritesEnd("", 0); }
};

inline bool isAligned(const void* address, size_t size) { return size != 0 && reinterpret_cast<uintptr_t>(address) % size == 0; }

/// Reports a kernel's access by an emulated instruction. `pc` is the instruction's place in the kernel.
inline void tracedRead(const void* from, size_t size, void* pc) {
  void* const address = const_cast<void*>(from);
  // A range costs several times what an access of a known size does.
  switch (isAligned(address, size) ? size : 0) {
    case 2: return __tsan_read2_pc(address, pc);
    case 4: return __tsan_read4_pc(address, pc);
    case 8: return __tsan_read8_pc(address, pc);
    case 16: return __tsan_read16_pc(address, pc);
  }
  __tsan_func_entry(pc);
  __tsan_read_range(address, size);
  __tsan_func_exit();
}
inline void tracedWrite(void* address, size_t size, void* pc) {
  switch (isAligned(address, size) ? size : 0) {
    case 2: return __tsan_write2_pc(address, pc);
    case 4: return __tsan_write4_pc(address, pc);
    case 8: return __tsan_write8_pc(address, pc);
    case 16: return __tsan_write16_pc(address, pc);
  }
  __tsan_func_entry(pc);
  __tsan_write_range(address, size);
  __tsan_func_exit();
}

#else

inline void prepareFibers() {}
inline void acquire(void*) {}
inline void release(void*) {}
struct Quiet {
  Quiet() {}
};
inline void tracedRead(const void*, size_t, void*) {}
inline void tracedWrite(void*, size_t, void*) {}

#endif

}  // namespace repa::simt
