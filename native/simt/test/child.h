// Runs this program once more, for bugs that a sanitizer ends the process at or reports on its standard error.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace repa::cuda::test {

/// What the program prints when it is called with --bug NAME, both streams together.
inline std::string outputOfBug(const std::string& name) {
  char path[4096] = {};
  if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) return "";
  std::FILE* pipe = popen(("'" + std::string(path) + "' --bug " + name + " 2>&1").c_str(), "r");
  if (!pipe) return "";
  std::string output;
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, got);
  pclose(pipe);
  return output;
}

/// "file:12" for the line of a file beside `here` that contains a text.
inline std::string lineOf(std::string here, const std::string& file, const std::string& text) {
  here.resize(here.rfind('/') + 1);
  std::ifstream source(here + file);
  std::string line;
  for (int number = 1; std::getline(source, line); ++number)
    if (line.find(text) != std::string::npos) return file + ":" + std::to_string(number);
  return file + " has no line with " + text;
}

/// Runs the bug of this name in this process; false if there is none.
bool runBug(const std::string& name);

}  // namespace repa::cuda::test
