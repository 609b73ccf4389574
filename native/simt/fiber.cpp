#include "simt/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

// The System V ABI's callee-saved registers. MXCSR and the x87 control word are the same in every fiber.
extern "C" void simtSwitchStack(void** saved, void* next);
__asm__(R"(
.text
.globl simtSwitchStack
.hidden simtSwitchStack
.type simtSwitchStack,@function
simtSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simtSwitchStack,.-simtSwitchStack
)");

namespace repa::simt {

namespace {

#if defined(SIMT_ASAN) || defined(SIMT_TSAN)
constexpr size_t stackBytes = 256 * 1024;  // instrumented frames are several times larger
#else
constexpr size_t stackBytes = 128 * 1024;
#endif
constexpr size_t guardBytes = 4096;

void* newStack() {
  // One mapping per stack, its lowest page forbidden: a kernel whose local arrays overflow it stops at once.
  void* mapping = mmap(nullptr, guardBytes + stackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    std::perror("simt: no memory for the stack of a CUDA thread");
    std::abort();
  }
  mprotect(mapping, guardBytes, PROT_NONE);
  return static_cast<char*>(mapping) + guardBytes;
}

}  // namespace

void switchContext(Context& from, Context& to) {
#if defined(SIMT_ASAN)
  __sanitizer_start_switch_fiber(&from.asanFakeStack, to.stackBottom, to.stackSize);
#endif
#if defined(SIMT_TSAN)
  __tsan_switch_to_fiber(to.tsanFiber, 1);  // 1: the switch itself orders nothing
#endif
  simtSwitchStack(&from.stackPointer, to.stackPointer);
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(from.asanFakeStack, nullptr, nullptr);
#endif
}

void finishFirstSwitch() {
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void prepareFiber(Context& fiber, void (*entry)()) {
  if (!fiber.stackBottom) {
    fiber.stackBottom = newStack();
    fiber.stackSize = stackBytes;
  }
#if defined(SIMT_ASAN)
  __asan_unpoison_memory_region(fiber.stackBottom, fiber.stackSize);  // a failed launch leaves its frames' red zones
  fiber.asanFakeStack = nullptr;
#endif
#if defined(SIMT_TSAN)
  // One that was abandoned within a Quiet cannot be destroyed; it is left behind.
  fiber.tsanFiber = __tsan_create_fiber(0);
#endif
  // At a function's first instruction the stack pointer is 8 below a multiple of 16, as after a call.
  auto* top = reinterpret_cast<uint64_t*>(static_cast<char*>(const_cast<void*>(fiber.stackBottom)) + stackBytes - 64);
  *--top = 0;
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int calleeSaved = 0; calleeSaved < 6; ++calleeSaved) *--top = 0;
  fiber.stackPointer = top;
}

void adoptHostThread(Context& host) {
#if defined(SIMT_ASAN)
  pthread_attr_t attributes;
  void* bottom = nullptr;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &bottom, &size);
    pthread_attr_destroy(&attributes);
  }
  host.stackBottom = bottom;
  host.stackSize = size;
#endif
#if defined(SIMT_TSAN)
  host.tsanFiber = __tsan_get_current_fiber();
#endif
  (void)host;
}

void releaseAs(Context& fiber, Context& host, void* object) {
#if defined(SIMT_TSAN)
  __tsan_switch_to_fiber(fiber.tsanFiber, 1);
  release(object);
  __tsan_switch_to_fiber(host.tsanFiber, 1);
#endif
  (void)fiber;
  (void)host;
  (void)object;
}

}  // namespace repa::simt
