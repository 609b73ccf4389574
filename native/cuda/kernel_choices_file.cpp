#include "cuda/kernel_choices_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/error.h"

namespace repa::cuda {

namespace {

constexpr const char* kSeparator = " = ";

[[noreturn]] void fail(const std::string& asked, const std::string& path, const std::string& reason) {
  throw Error(ErrorCode::invalidArgument, asked + " keeps its choices in " + path + ", so that another run makes the same ones, and that " + reason +
                                              "; let REPA_KERNEL_CHOICES name a file that can be written.");
}

/// Whether what is appended begins a line: somebody's editor may have left the last one open.
bool endsALine(int file) {
  const off_t size = lseek(file, 0, SEEK_END);
  char last = '\n';
  return size <= 0 || pread(file, &last, 1, size - 1) != 1 || last == '\n';
}

}  // namespace

std::string kernelChoicesPath() {
  if (const char* named = std::getenv("REPA_KERNEL_CHOICES"); named && *named) return named;
  const std::string file = "/repa-native/kernel-choices.txt";
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) return cache + file;
  const char* home = std::getenv("HOME");
  return std::string(home && *home ? home : ".") + "/.cache" + file;
}

std::optional<std::string> readKernelChoice(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  const std::string begin = key + kSeparator;
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(begin)) return line.substr(begin.size());
  return std::nullopt;
}

std::string keepKernelChoice(const std::string& asked, const std::string& path, const std::string& key, const std::string& choice) {
  std::error_code ignored;  // what could not be made shows at once
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty()) std::filesystem::create_directories(folder, ignored);
  const int file = open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) fail(asked, path, std::string("cannot be written (") + std::strerror(errno) + ")");
  const std::string line = (endsALine(file) ? "" : "\n") + key + kSeparator + choice + "\n";
  // One write to the end, which other processes' do not come between.
  const ssize_t written = write(file, line.data(), line.size());
  const int error = written < 0 ? errno : ENOSPC;
  // Half a line would be read as another choice by the next process.
  const bool torn = written > 0 && written < static_cast<ssize_t>(line.size());
  const bool left = torn && ftruncate(file, lseek(file, 0, SEEK_CUR) - written) != 0;
  close(file);
  if (left) fail(asked, path, "ends in half a line since its disk is full: delete that line");
  if (written != static_cast<ssize_t>(line.size())) fail(asked, path, std::string("cannot be written (") + std::strerror(error) + ")");
  const std::optional<std::string> kept = readKernelChoice(path, key);
  if (!kept) fail(asked, path, "cannot be read");
  return *kept;
}

}  // namespace repa::cuda
