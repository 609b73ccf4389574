#include "cuda/shared_library.h"

#include <dlfcn.h>

#include <cstdlib>

namespace repa::cuda {

SharedLibrary::SharedLibrary(const char* name, const char* variable, std::initializer_list<const char*> files, const char* since) : name_(name), since_(since) {
  const char* const named = std::getenv(variable);
  if (named && *named) {
    library_ = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (!library_) failure_ = std::string(variable) + " names " + named + ", which does not open: " + dlerror() + ".";
    return;
  }
  std::string tried;
  for (const char* file : files) {
    if (!library_) library_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    tried += (tried.empty() ? "" : " nor ") + std::string(file);
  }
  isAbsent_ = !library_;
  if (isAbsent_)
    failure_ = std::string(name) + " is not here: the loader finds " + (files.size() == 1 ? "no " : "neither ") + tried +
               "; add its folder to LD_LIBRARY_PATH, or set " + variable + " to the file.";
}

void* SharedLibrary::symbolIfThere(const char* name) const { return library_ ? dlsym(library_, name) : nullptr; }

void* SharedLibrary::symbol(const char* name) {
  void* const found = symbolIfThere(name);
  if (!found && failure_.empty()) failure_ = std::string("The ") + name_ + " that was found has no " + name + "; versions " + since_ + " have.";
  return found;
}

}  // namespace repa::cuda
