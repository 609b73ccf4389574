#include "simt/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>

namespace repa::simt {

namespace {

constexpr std::string_view sharedTag = "B11simt_shared";
constexpr std::string_view kernelTag = "B11simt_kernel", readableKernelTag = "[abi:simt_kernel]";

struct Module {
  std::unordered_map<const void*, std::string> functions;
  std::map<const void*, std::string> kernels;  // with their files
  std::vector<SharedVariable> shared;
};

std::string demangle(const char* symbol) {
  int status = 0;
  char* text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : symbol;
  std::free(text);
  return name;
}

/// "void repa::cuda::(anonymous namespace)::k[abi:simt_kernel]<4>(float*)" -> "k<4>".
std::string shortName(std::string name) {
  if (const size_t tag = name.find(readableKernelTag); tag != std::string::npos) name.erase(tag, readableKernelTag.size());
  int depth = 0;
  size_t begin = 0, end = name.size();
  for (size_t i = 0; i < name.size(); ++i) {
    if (name.compare(i, 21, "(anonymous namespace)") == 0) {
      i += 20;
      continue;
    }
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (depth == 0 && name[i] == '(') {
      end = i;
      break;
    }
    if (depth == 0 && (name[i] == ' ' || name[i] == ':')) begin = i + 1;
  }
  return name.substr(begin, end - begin);
}

/// Whether a function is a kernel: not one within it, as a lambda is, and not a piece that the compiler has split off.
bool isKernel(std::string_view symbol) {
  return symbol.find(kernelTag) != std::string_view::npos && !symbol.starts_with("_ZZ") && symbol.find('.') == std::string_view::npos;
}

/// The variable's own name: the last identifier before the tag.
std::string variableName(const char* symbol) {
  std::string name = demangle(symbol);
  name = name.substr(0, name.find("[abi:simt_shared]"));
  const size_t colon = name.rfind("::");
  return colon == std::string::npos ? name : name.substr(colon + 2);
}

void readSymbols(const char* bytes, size_t size, uintptr_t loadedAt, Module& module) {
  if (size < sizeof(Elf64_Ehdr)) return;
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(bytes);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_shoff + header.e_shnum * sizeof(Elf64_Shdr) > size) return;
  const uintptr_t base = header.e_type == ET_DYN ? loadedAt : 0;
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(bytes + header.e_shoff);
  for (int i = 0; i < header.e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const char* names = bytes + sections[sections[i].sh_link].sh_offset;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(bytes + sections[i].sh_offset);
    std::string source;  // a file's local symbols follow its name
    for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); ++s) {
      const char* name = names + symbols[s].st_name;
      const int type = ELF64_ST_TYPE(symbols[s].st_info);
      auto* address = reinterpret_cast<unsigned char*>(base + symbols[s].st_value);
      if (symbols[s].st_shndx == SHN_UNDEF) continue;
      if (type == STT_FILE) source = name;
      if (type == STT_FUNC) module.functions.emplace(address, name);
      if (type == STT_FUNC && isKernel(name)) module.kernels.emplace(address, source + ": " + shortName(demangle(name)));
      if (type == STT_OBJECT && std::string_view(name).find(sharedTag) != std::string_view::npos)
        module.shared.push_back({address, symbols[s].st_size, variableName(name), name});
    }
  }
  std::sort(module.shared.begin(), module.shared.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
}

const Module& moduleOf(const void* function) {
  static auto& byFunction = *new std::unordered_map<const void*, const Module*>;
  static auto& byBase = *new std::map<const void*, Module>;
  if (const auto known = byFunction.find(function); known != byFunction.end()) return *known->second;
  Dl_info info = {};
  dladdr(function, &info);
  auto [entry, isNew] = byBase.try_emplace(info.dli_fbase);
  if (isNew && info.dli_fname) {
    // The main program's name is what it was called with; a shared library's is its path.
    std::ifstream file(info.dli_fname, std::ios::binary);
    if (!file) file.open("/proc/self/exe", std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    readSymbols(bytes.data(), bytes.size(), reinterpret_cast<uintptr_t>(info.dli_fbase), entry->second);
  }
  byFunction[function] = &entry->second;
  return entry->second;
}

/// What has been read, which stays where it is.
std::mutex& tables() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

}  // namespace

const std::vector<SharedVariable>& sharedVariables(const void* function) {
  std::lock_guard lock(tables());
  return moduleOf(function).shared;
}

size_t staticSharedBytes(const void* kernel) {
  static auto& known = *new std::unordered_map<const void*, size_t>;
  std::lock_guard lock(tables());
  auto [entry, isNew] = known.try_emplace(kernel, 0);
  if (!isNew) return entry->second;
  const Module& module = moduleOf(kernel);
  const auto symbol = module.functions.find(kernel);
  if (symbol == module.functions.end()) return 0;
  // _ZZ, the function's name without its _Z, E: a local variable.
  const std::string begin = "_ZZ" + symbol->second.substr(2) + "E";
  for (const SharedVariable& variable : module.shared)
    if (variable.symbol.starts_with(begin)) entry->second += variable.bytes;
  return entry->second;
}

const std::string& functionName(const void* function) {
  static auto& names = *new std::unordered_map<const void*, std::string>;
  std::lock_guard lock(tables());
  auto [entry, isNew] = names.try_emplace(function, "(unnamed kernel)");
  if (isNew) {
    const Module& module = moduleOf(function);
    if (const auto symbol = module.functions.find(function); symbol != module.functions.end())
      entry->second = shortName(demangle(symbol->second.c_str()));
  }
  return entry->second;
}

const std::string& kernelInFile(const void* kernel) {
  static const std::string& unknown = *new std::string("(unnamed kernel)");
  std::lock_guard lock(tables());
  const Module& module = moduleOf(kernel);
  const auto entry = module.kernels.find(kernel);
  return entry == module.kernels.end() ? unknown : entry->second;
}

std::vector<std::string> kernelsInFiles(const void* function) {
  std::vector<std::string> names;
  std::lock_guard lock(tables());
  for (const auto& [address, name] : moduleOf(function).kernels) names.push_back(name);
  return names;
}

}  // namespace repa::simt
