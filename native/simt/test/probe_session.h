// Runs probes so that one call tells everything. A kernel that does something illegal, or never ends, takes the GPU away from its process
// for good: probes therefore run in a child, in their order, and where one ends the child, the next child goes on behind it.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "core/error.h"
#include "simt/test/device_array.h"

namespace repa::cuda::test {

/// The dump, one line a probe.
class Dump {
 public:
  Dump(const char* path, const char* mode) : file_(std::fopen(path, mode)) {
    if (!file_) throw Error(ErrorCode::failed, std::string("The dump ") + path + " cannot be written.");
  }
  ~Dump() { std::fclose(file_); }
  Dump(const Dump&) = delete;
  Dump& operator=(const Dump&) = delete;

  void write(const std::string& line) {
    std::fprintf(file_, "%s\n", line.c_str());
    std::fflush(file_);
  }

 private:
  std::FILE* file_;
};

/// What a probe gave, as the rest of its line.
class Line {
 public:
  template <class T>
  void exact(const DeviceArray<T>& results) {
    give("exact", results);
  }
  template <class T>
  void approximate(const DeviceArray<T>& results) {
    give("approximate", results);
  }
  const std::string& text() const { return text_; }

 private:
  template <class T>
  void give(const char* kind, const DeviceArray<T>& results) {
    text_ = kind;
    for (const T& value : results.read()) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof value);
      char word[16];
      std::snprintf(word, sizeof word, " %0*x", static_cast<int>(2 * sizeof value), bits);
      text_ += word;
    }
  }

  std::string text_;
};

/// What a child is at, in memory that it shares with its parent.
struct Progress {
  int probe;  // -1 before the first
  char name[128];
  char sentence[1024];
};

class ProbeSession {
 public:
  /// Leaves out the probes before `first`.
  ProbeSession(Dump& dump, Progress& progress, int first) : dump_(dump), progress_(progress), first_(first) {}

  /// Runs a probe and writes its line. What it throws ends the session.
  template <class Run>
  void probe(const std::string& name, Run run) {
    const int number = next_++;
    if (number < first_) return;
    progress_.probe = number;
    std::snprintf(progress_.name, sizeof progress_.name, "%s", name.c_str());
    alarm(kSeconds);
    Line line;
    run(line);
    alarm(0);
    dump_.write(name + " " + line.text());
  }

  /// What a probe may take; the shim's slowest takes one under ThreadSanitizer.
  static constexpr unsigned kSeconds = 20;

 private:
  Dump& dump_;
  Progress& progress_;
  int first_, next_ = 0;
};

/// Why a child has ended before its last probe.
inline std::string reasonOf(int status, const Progress& progress) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    return "it had not ended after " + std::to_string(ProbeSession::kSeconds) + " seconds.";
  if (WIFSIGNALED(status)) return std::string("it was ended by a signal: ") + strsignal(WTERMSIG(status)) + ".";
  return progress.sentence[0] ? progress.sentence : "it ended its process with status " + std::to_string(WEXITSTATUS(status)) + ".";
}

/// Runs what `probes` calls session.probe with, writing the dump to `path`, a line "NAME failed WHY" for a probe that fails. Throws where
/// there is no device. This process itself makes no call of CUDA's, which no child could go on with.
inline void runInProcesses(const char* path, void (*probes)(ProbeSession&)) {
  Dump dump(path, "w");
  void* const memory = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Error(ErrorCode::failed, "There is no memory to share with the process of the probes.");
  Progress& progress = *static_cast<Progress*>(memory);
  for (int first = 0;;) {
    progress = {.probe = -1, .name = {}, .sentence = {}};
    const pid_t child = fork();
    if (child < 0) throw Error(ErrorCode::failed, "The process of the probes could not be started.");
    if (child == 0) {
      int status = 1;
      try {
        Dump lines(path, "a");
        ProbeSession session(lines, progress, first);
        probes(session);
        status = 0;
      } catch (const std::exception& error) {
        std::snprintf(progress.sentence, sizeof progress.sentence, "%s", error.what());
      }
      _exit(status);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    const std::string reason = reasonOf(status, progress);
    if (progress.probe < 0) throw Error(ErrorCode::failed, reason);
    Dump(path, "a").write(std::string(progress.name) + " failed " + reason);
    std::fprintf(stderr, "%s failed: %s\n", progress.name, reason.c_str());
    first = progress.probe + 1;
  }
}

}  // namespace repa::cuda::test
