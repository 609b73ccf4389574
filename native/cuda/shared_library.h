// A library of NVIDIA's that is opened at run time, where a machine has it: its functions, or why there are none.
#pragma once

#include <initializer_list>
#include <string>
#include <type_traits>

namespace repa::cuda {

class SharedLibrary {
 public:
  /// Opens what the environment variable names, else the first of `files` that the loader finds. `name` is the library's in sentences,
  /// `since` the versions that have what is asked of it.
  SharedLibrary(const char* name, const char* variable, std::initializer_list<const char*> files, const char* since);

  /// Sets a function by its name. Of a library that is not open, or has none of that name, it is null and failure() says so.
  template <class Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<Function>>(symbol(name));
  }

  /// The same of what not all versions have: null, and no failure.
  template <class Function>
  void findIfThere(Function& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<Function>>(symbolIfThere(name));
  }

  /// A sentence; empty where the library is open and has all that was asked for.
  const std::string& failure() const { return failure_; }

  /// Whether the machine has none and nobody said that it has.
  bool isAbsent() const { return isAbsent_; }

 private:
  void* symbol(const char* name);
  void* symbolIfThere(const char* name) const;

  const char* name_;
  const char* since_;
  void* library_ = nullptr;
  std::string failure_;
  bool isAbsent_ = false;
};

}  // namespace repa::cuda
