// The shim's tests need no more of a framework than this.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace repa::cuda::test {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

/// What the running test complained of.
inline std::vector<std::string>& complaints() {
  static std::vector<std::string> all;
  return all;
}

inline void expect(bool holds, const std::string& what) {
  if (!holds) complaints().push_back(what);
}

inline void expectContains(const std::string& text, const std::string& part) {
  expect(text.find(part) != std::string::npos, "\"" + text + "\" does not contain \"" + part + "\"");
}

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

#define SIMT_TEST_NAME2(line) simtTest##line
#define SIMT_TEST_NAME(line) SIMT_TEST_NAME2(line)
#define TEST(name)                                                                                   \
  static void SIMT_TEST_NAME(__LINE__)();                                                            \
  static ::repa::cuda::test::Registration registration##__COUNTER__##name(#name, SIMT_TEST_NAME(__LINE__)); \
  static void SIMT_TEST_NAME(__LINE__)()

}  // namespace repa::cuda::test
