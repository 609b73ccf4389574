// Makes the addon load wherever Node 20 does: from glibc 2.28 on (that of RHEL 8), however much newer the machine is that linked it. A
// cluster's system is older than that of the machine on which one packs for it.
//
// The linker takes the newest version of a function. Many have a newer one only because glibc 2.34 moved them from libpthread, libdl and
// librt into libc, others because they tell errors in another way; the older version is there beside it, and is all that an older system
// has. So the linker turns every call of such a function, those in NVIDIA's and the compiler's archives included, into one of
// __wrap_FUNCTION (its option --wrap), which is here and jumps to the older version.
//
// CMakeLists.txt reads here what to wrap. What else of a build asks for more than 2.28, test/native/glibc.test.ts names.
#include <cstdint>
#include <ctime>

#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>

#if defined(__x86_64__)
#define REPA_FIRST_GLIBC "2.2.5"
#define REPA_SINCE(version) version
#define REPA_JUMP(to) "jmp *" to "@GOTPCREL(%rip)\n"
#define REPA_STAT_LAYOUT 1
#else  // arm64, whose first glibc was 2.17
#define REPA_FIRST_GLIBC "2.17"
#define REPA_SINCE(version) REPA_FIRST_GLIBC
#define REPA_JUMP(to) "adrp x16, :got:" to "\nldr x16, [x16, :got_lo12:" to "]\nbr x16\n"
#define REPA_STAT_LAYOUT 0
#endif

/// __wrap_NAME, which jumps to FUNCTION as it has been since a version of glibc.
#define REPA_WRAP(name, function, version)                                                     \
  __asm__(".symver repa_older_" name ", " function "@GLIBC_" version "\n"                      \
          ".pushsection .text.__wrap_" name ", \"ax\"\n"                                       \
          ".globl __wrap_" name "\n.hidden __wrap_" name "\n.type __wrap_" name ", %function\n" \
          "__wrap_" name ":\n" REPA_JUMP("repa_older_" name)                                   \
          ".size __wrap_" name ", . - __wrap_" name "\n.popsection")
#define REPA_OLDER(name) REPA_WRAP(#name, #name, REPA_FIRST_GLIBC)
#define REPA_OLDER_SINCE(name, version) REPA_WRAP(#name, #name, REPA_SINCE(version))

REPA_OLDER(dlclose);
REPA_OLDER(dlerror);
REPA_OLDER_SINCE(dlmopen, "2.3.4");
REPA_OLDER(dlopen);
REPA_OLDER(dlsym);
REPA_OLDER(dlvsym);

REPA_OLDER(exp);
REPA_OLDER(hypot);
REPA_OLDER(log);
REPA_OLDER(pow);

REPA_OLDER(pthread_condattr_setpshared);
REPA_OLDER(pthread_create);
REPA_OLDER(pthread_detach);
REPA_OLDER(pthread_getspecific);
REPA_OLDER(pthread_join);
REPA_OLDER(pthread_key_create);
REPA_OLDER(pthread_key_delete);
REPA_OLDER(pthread_kill);
REPA_OLDER(pthread_mutex_trylock);
REPA_OLDER(pthread_mutexattr_destroy);
REPA_OLDER(pthread_mutexattr_init);
REPA_OLDER(pthread_mutexattr_setpshared);
REPA_OLDER(pthread_mutexattr_settype);
REPA_OLDER(pthread_once);
REPA_OLDER(pthread_rwlock_destroy);
REPA_OLDER(pthread_rwlock_init);
REPA_OLDER(pthread_rwlock_rdlock);
REPA_OLDER(pthread_rwlock_timedrdlock);
REPA_OLDER(pthread_rwlock_timedwrlock);
REPA_OLDER(pthread_rwlock_tryrdlock);
REPA_OLDER(pthread_rwlock_trywrlock);
REPA_OLDER(pthread_rwlock_unlock);
REPA_OLDER(pthread_rwlock_wrlock);
REPA_OLDER(pthread_rwlockattr_destroy);
REPA_OLDER(pthread_rwlockattr_init);
REPA_OLDER(pthread_rwlockattr_setpshared);
REPA_OLDER_SINCE(pthread_setname_np, "2.12");
REPA_OLDER(pthread_setspecific);
REPA_OLDER(pthread_spin_destroy);
REPA_OLDER(pthread_spin_init);
REPA_OLDER(pthread_spin_lock);
REPA_OLDER(pthread_spin_trylock);
REPA_OLDER(pthread_spin_unlock);

REPA_OLDER(sem_destroy);
REPA_OLDER(sem_init);
REPA_OLDER(sem_post);
REPA_OLDER(sem_timedwait);
REPA_OLDER(sem_trywait);
REPA_OLDER(sem_wait);
REPA_OLDER(shm_open);
REPA_OLDER(shm_unlink);

// Since 2.38 the headers call what C23 says of numbers with 0b before them, under other names.
#define REPA_C23(name) REPA_WRAP("__isoc23_" #name, #name, REPA_FIRST_GLIBC)
REPA_C23(strtol);
REPA_C23(strtoll);
REPA_C23(strtoul);
REPA_C23(strtoull);

// Of 2.33: before, the headers called functions that take the number of the structure's layout.
#define REPA_STAT(name, function, Structure, Of)                                                                               \
  __asm__(".symver repa_older_" #name ", " #function "@GLIBC_" REPA_FIRST_GLIBC);                                              \
  extern "C" int repa_older_##name(int layout, Of of, struct Structure* status);                                               \
  extern "C" int __wrap_##name(Of of, struct Structure* status) { return repa_older_##name(REPA_STAT_LAYOUT, of, status); }    \
  static_assert(true)
REPA_STAT(stat, __xstat, stat, const char*);
REPA_STAT(lstat, __lxstat, stat, const char*);
REPA_STAT(fstat, __fxstat, stat, int);
REPA_STAT(fstat64, __fxstat64, stat64, int);

extern "C" {

/// Of 2.32, by which libstdc++ spares atomic instructions where there is one thread; false is always right.
char __wrap___libc_single_threaded = 0;

/// Of 2.36, for std::random_device.
uint32_t __wrap_arc4random() {
  uint32_t value = 0;
  while (getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

/// Of 2.30: waits for as long by the system's clock. Where that is set meanwhile, who waits looks at its own clock and waits again.
int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  constexpr long kSecond = 1'000'000'000;
  timespec now{}, end{};
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += until->tv_sec - now.tv_sec;
  end.tv_nsec += until->tv_nsec - now.tv_nsec;
  if (end.tv_nsec < 0) end = {end.tv_sec - 1, end.tv_nsec + kSecond};
  if (end.tv_nsec >= kSecond) end = {end.tv_sec + 1, end.tv_nsec - kSecond};
  return pthread_cond_timedwait(condition, mutex, &end);
}

}  // extern "C"
