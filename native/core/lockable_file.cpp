#include "core/lockable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace repa {

namespace {

#if defined(__linux__)
struct flock wholeLock(int64_t byte) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}
#endif

}  // namespace

std::string sharedFolder() {
  if (access("/dev/shm", W_OK) == 0) return "/dev/shm";
  const char* folder = std::getenv("TMPDIR");
  return folder && *folder ? folder : "/tmp";
}

LockableFile::~LockableFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

#if defined(__linux__)
bool LockableFile::lock(int64_t byte) const {
  struct flock lock = wholeLock(byte);
  return fcntl(descriptor_, F_OFD_SETLK, &lock) == 0;
}

bool LockableFile::isLocked(int64_t byte) const {
  struct flock lock = wholeLock(byte);
  return fcntl(descriptor_, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
#else
bool LockableFile::lock(int64_t) const { return true; }

bool LockableFile::isLocked(int64_t) const { return true; }
#endif

}  // namespace repa
