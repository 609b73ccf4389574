// A file by which processes of one machine know who of them is there: each holds a byte of it, of which the system lets go where the process
// ends, however it does.
#pragma once

#include <cstdint>
#include <string>

namespace repa {

/// Where files are memory: /dev/shm on Linux.
std::string sharedFolder();

/// Bytes are held on Linux alone: elsewhere all are, by whoever is asked for.
class LockableFile {
 public:
  /// Its owner from here on; below 0 there is no file.
  explicit LockableFile(int descriptor) : descriptor_(descriptor) {}
  ~LockableFile();
  LockableFile(const LockableFile&) = delete;
  LockableFile& operator=(const LockableFile&) = delete;

  int descriptor() const { return descriptor_; }

  /// Takes a byte for as long as this is open. False with errno.
  bool lock(int64_t byte) const;
  /// Whether another opening of the file has taken a byte.
  bool isLocked(int64_t byte) const;

 private:
  int descriptor_;
};

}  // namespace repa
