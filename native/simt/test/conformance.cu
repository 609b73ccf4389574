// Does the shim do what the chip does? Runs every wrapper of cuda/ptx.h on the same seeded inputs and writes what came out:
//
//     conformance DUMP               writes the dump
//     conformance --compare A B      names the probes that differ; exit status 1 if any does
//
// Built by nvcc it runs on a GPU, built against the shim on a CPU. The dumps are text, one line a probe: its name, "exact" or
// "approximate", and the bits of the results. Exact lines must be the same; the floats of approximate ones are to agree to 2^-10 of their
// size (tanh.approx has 11 bits; the others are far better). Products of matrices are of small integers, exact in any order of summation.
// Lines for sm_90a are left out on a device below.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/launch.h"
#include "simt/test/device_array.h"
#include "simt/test/numbers.h"
#include "simt/test/probes.h"
#include "simt/test/tensor_map.h"
#include "simt/test/wgmma_operand.h"
#include "simt/test/wgmma_probes.h"

namespace repa::cuda::test {

class Dump {
 public:
  explicit Dump(const char* path) : file_(std::fopen(path, "w")) {
    if (!file_) throw Error(ErrorCode::failed, std::string("The dump ") + path + " cannot be written.");
  }
  ~Dump() { std::fclose(file_); }
  Dump(const Dump&) = delete;
  Dump& operator=(const Dump&) = delete;

  template <class T>
  void line(const std::string& name, const DeviceArray<T>& results, bool exact = true) {
    std::fprintf(file_, "%s %s", name.c_str(), exact ? "exact" : "approximate");
    for (const T& value : results.read()) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof value);
      std::fprintf(file_, " %0*x", static_cast<int>(2 * sizeof value), bits);
    }
    std::fprintf(file_, "\n");
  }

 private:
  std::FILE* file_;
};

constexpr LaunchShape oneWarp = {.grid = 1, .block = 32};

template <int count, bool transposed>
void dumpMatrices(Dump& dump, bool hopper) {
  const std::string suffix = ".x" + std::to_string(count) + (transposed ? ".trans" : "");
  DeviceArray<uint16_t> elements(randomBits<uint16_t>(64 * count, 30));
  DeviceArray<uint32_t> registers(32 * count);
  launch(nullptr, probeLdmatrix<count, transposed>, oneWarp, elements.data(), registers.data());
  dump.line("ldmatrix" + suffix, registers);
  if constexpr (count > 1) {
    if (!hopper) return;
    DeviceArray<uint16_t> stored(64 * count);
    DeviceArray<uint32_t> values(randomBits<uint32_t>(32 * count, 31));
    launch(nullptr, probeStmatrix<count, transposed>, oneWarp, values.data(), stored.data());
    dump.line("stmatrix" + suffix, stored);
  }
}

/// Registers full of small integers.
template <class T>
std::vector<uint32_t> packedIntegers(size_t count, unsigned seed) {
  const auto values = randomIntegers(2 * count, seed);
  std::vector<uint32_t> result(count);
  for (size_t i = 0; i < count; ++i) result[i] = pack2<T>(values[2 * i], values[2 * i + 1]);
  return result;
}

template <Product product>
void dumpMma(Dump& dump, const char* name, const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  DeviceArray<uint32_t> deviceA(a), deviceB(b);
  DeviceArray<float> c(randomIntegers(128, 32)), out(128);
  launch(nullptr, probeMma<product>, oneWarp, deviceA.data(), deviceB.data(), c.data(), out.data());
  dump.line(name, out);
}

void dumpProducts(Dump& dump) {
  dumpMma<Product::bf16K16>(dump, "mma.m16n8k16.bf16", packedIntegers<bf16>(128, 33), packedIntegers<bf16>(64, 34));
  dumpMma<Product::f16K16>(dump, "mma.m16n8k16.f16", packedIntegers<f16>(128, 35), packedIntegers<f16>(64, 36));
  dumpMma<Product::bf16K8>(dump, "mma.m16n8k8.bf16", packedIntegers<bf16>(64, 37), packedIntegers<bf16>(32, 38));
  dumpMma<Product::f16K8>(dump, "mma.m16n8k8.f16", packedIntegers<f16>(64, 39), packedIntegers<f16>(32, 40));
  std::vector<uint32_t> a, b;
  // The lower 13 bits are noise that the instruction ignores.
  for (const float x : randomIntegers(128, 41)) a.push_back(detail::floatBits(x) | (x != 0 ? 0x0155u : 0));
  for (const float x : randomIntegers(64, 42)) b.push_back(detail::floatBits(x) | (x != 0 ? 0x0AAAu : 0));
  dumpMma<Product::tf32K8>(dump, "mma.m16n8k8.tf32", a, b);
}

template <int bytes>
void dumpCopies(Dump& dump) {
  DeviceArray<unsigned char> in(randomBits<unsigned char>(32 * bytes, 43)), out(32 * bytes);
  launch(nullptr, probeCpAsync<bytes>, oneWarp, in.data(), out.data());
  dump.line("cp.async." + std::to_string(bytes), out);
}

void dumpScalars(Dump& dump) {
  DeviceArray<uint32_t> lanes(randomBits<uint32_t>(32, 44)), shuffled(11 * 32);
  launch(nullptr, probeShuffles, oneWarp, lanes.data(), shuffled.data());
  dump.line("shuffles", shuffled);

  auto values = randomFloats(1000, 45);
  for (const uint32_t bits : randomBits<uint32_t>(1048, 46)) values.push_back(detail::bitsFloat(bits));
  const int n = static_cast<int>(values.size());
  DeviceArray<float> in(values);
  DeviceArray<uint32_t> converted(conversions * n);
  const LaunchShape shape = {.grid = static_cast<unsigned>((n + 127) / 128), .block = 128};
  launch(nullptr, probeConversions, shape, in.data(), converted.data(), n);
  dump.line("conversions", converted);

  const int few = 500;
  DeviceArray<float> normal(randomFloats(few, 47)), approximated(approximations * few);
  launch(nullptr, probeApproximations, shape, normal.data(), approximated.data(), few);
  dump.line("approximations", approximated, false);
}

template <int rank>
void dumpTma(Dump& dump, const std::string& name, const std::vector<uint64_t>& extents, const std::vector<uint32_t>& box,
             Coordinates<rank> at, CUtensorMapSwizzle swizzle) {
  size_t elements = 1, bytes = 2;
  for (const uint64_t extent : extents) elements *= extent;
  for (const uint32_t extent : box) bytes *= extent;
  DeviceArray<uint16_t> tensor(randomBits<uint16_t>(elements, 48));
  DeviceArray<unsigned char> tile(bytes), image(randomBits<unsigned char>(bytes, 49));
  const CUtensorMap map = tensorMap(tensor.data(), {.extents = extents, .box = box, .swizzle = swizzle});
  const LaunchShape shape = {.grid = 1, .block = 32, .sharedBytes = bytes + 64};
  launch(nullptr, probeTmaLoad<rank>, shape, map, at, tile.data(), static_cast<int>(bytes));
  dump.line("tma.load." + name, tile);
  launch(nullptr, probeTmaStore<rank>, shape, map, at, image.data(), static_cast<int>(bytes));
  dump.line("tma.store." + name, tensor);
}

template <class T, int columns, Major majorA, Major majorB, Swizzle swizzleA, Swizzle swizzleB>
void dumpWgmma(Dump& dump, const std::string& name) {
  const auto layoutA = OperandLayout::make(majorA, swizzleA, 64), layoutB = OperandLayout::make(majorB, swizzleB, columns);
  DeviceArray<unsigned char> a(layoutA.image<T>(randomIntegers(64 * 16, 50))), b(layoutB.image<T>(randomIntegers(columns * 16, 51)));
  DeviceArray<float> c(randomIntegers(64 * columns, 52)), out(64 * columns);
  const WgmmaProbe probe = {layoutA.bytes, layoutB.bytes, layoutA.leading, layoutA.stride, layoutB.leading, layoutB.stride};
  const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = static_cast<size_t>(layoutA.bytes + 1024 + layoutB.bytes)};
  launch(nullptr, probeWgmma<T, columns, majorA, majorB, swizzleA, swizzleB>, shape, probe, a.data(), b.data(), c.data(), out.data());
  dump.line("wgmma.n" + std::to_string(columns) + "." + name, out);
}

template <class T, int columns, Major majorB, Swizzle swizzleB, bool fresh>
void dumpWgmmaRegisters(Dump& dump, const std::string& name) {
  const auto layoutB = OperandLayout::make(majorB, swizzleB, columns);
  DeviceArray<uint32_t> a(packedIntegers<T>(4 * 128, 53));
  DeviceArray<unsigned char> b(layoutB.image<T>(randomIntegers(columns * 16, 54)));
  DeviceArray<float> c(randomIntegers(64 * columns, 55)), out(64 * columns);
  const WgmmaProbe probe = {0, layoutB.bytes, 0, 0, layoutB.leading, layoutB.stride};
  const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = static_cast<size_t>(layoutB.bytes)};
  launch(nullptr, probeWgmmaRegisters<T, columns, majorB, swizzleB, fresh>, shape, probe, a.data(), b.data(), c.data(), out.data());
  dump.line("wgmma.registers.n" + std::to_string(columns) + "." + name, out);
}

template <Swizzle swizzle>
void dumpWgmmaMajors(Dump& dump, const std::string& name) {
  dumpWgmma<bf16, 64, Major::k, Major::k, swizzle, swizzle>(dump, name + ".k.k");
  dumpWgmma<bf16, 64, Major::k, Major::mn, swizzle, swizzle>(dump, name + ".k.mn");
  dumpWgmma<bf16, 64, Major::mn, Major::k, swizzle, swizzle>(dump, name + ".mn.k");
  dumpWgmma<bf16, 64, Major::mn, Major::mn, swizzle, swizzle>(dump, name + ".mn.mn");
}

template <int... columns>
void dumpWgmmaColumns(Dump& dump) {
  (dumpWgmma<bf16, columns, Major::k, Major::k, Swizzle::bytes128, Swizzle::bytes128>(dump, "bf16"), ...);
  (dumpWgmma<f16, columns, Major::k, Major::mn, Swizzle::bytes128, Swizzle::bytes128>(dump, "f16"), ...);
}

void dumpHopper(Dump& dump) {
  dumpTma<2>(dump, "2d.128", {80, 40}, {64, 16}, {{32, 32}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<2>(dump, "2d.64", {80, 40}, {32, 16}, {{-5, -3}}, CU_TENSOR_MAP_SWIZZLE_64B);
  dumpTma<2>(dump, "2d.32", {72, 20}, {16, 8}, {{64, 4}}, CU_TENSOR_MAP_SWIZZLE_32B);
  dumpTma<2>(dump, "2d.none", {200, 20}, {136, 8}, {{72, 4}}, CU_TENSOR_MAP_SWIZZLE_NONE);
  dumpTma<3>(dump, "3d.128", {72, 9, 3}, {64, 4, 2}, {{8, 6, 1}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<3>(dump, "3d.32", {72, 3, 9}, {16, 2, 4}, {{64, 2, 6}}, CU_TENSOR_MAP_SWIZZLE_32B);
  dumpTma<4>(dump, "4d.128", {72, 4, 3, 6}, {64, 2, 2, 4}, {{0, 3, 1, 4}}, CU_TENSOR_MAP_SWIZZLE_128B);

  dumpWgmmaMajors<Swizzle::bytes128>(dump, "128");
  dumpWgmmaMajors<Swizzle::bytes64>(dump, "64");
  dumpWgmmaMajors<Swizzle::bytes32>(dump, "32");
  dumpWgmmaMajors<Swizzle::none>(dump, "none");
  dumpWgmmaColumns<8, 16, 24, 32, 40, 48, 56, 72, 80, 96, 112, 128, 160, 192, 224, 256>(dump);
  dumpWgmmaRegisters<bf16, 64, Major::k, Swizzle::bytes128, false>(dump, "bf16.k");
  dumpWgmmaRegisters<bf16, 72, Major::mn, Swizzle::bytes128, true>(dump, "bf16.mn.fresh");
  dumpWgmmaRegisters<f16, 96, Major::k, Swizzle::bytes64, true>(dump, "f16.k.fresh");
  dumpWgmmaRegisters<f16, 192, Major::mn, Swizzle::none, false>(dump, "f16.mn");

  constexpr int blocks = 4, tileBytes = 1024;
  DeviceArray<float> in(randomFloats(32 * blocks, 56)), out(4 * 32 * blocks);
  DeviceArray<uint16_t> tensor(randomBits<uint16_t>(tileBytes / 2, 57));
  const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
  const LaunchShape shape = {.grid = blocks, .block = 32, .sharedBytes = tileBytes + 512, .cluster = 2};
  launch(nullptr, probeCluster, shape, map, in.data(), out.data(), tileBytes);
  dump.line("cluster", out);
}

void dumpAll(const char* path) {
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "ask for the compute capability");
  const bool hopper = major == 9;
  Dump dump(path);
  dumpMatrices<1, false>(dump, hopper);
  dumpMatrices<2, false>(dump, hopper);
  dumpMatrices<4, false>(dump, hopper);
  dumpMatrices<1, true>(dump, hopper);
  dumpMatrices<2, true>(dump, hopper);
  dumpMatrices<4, true>(dump, hopper);
  dumpProducts(dump);
  dumpCopies<4>(dump);
  dumpCopies<8>(dump);
  dumpCopies<16>(dump);
  dumpScalars(dump);
  if (hopper) dumpHopper(dump);
}

/// The lines of a dump by name: "exact" or "approximate", then the results.
std::map<std::string, std::vector<std::string>> readDump(const char* path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::failed, std::string("The dump ") + path + " cannot be read.");
  std::map<std::string, std::vector<std::string>> lines;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name, word;
    words >> name;
    while (words >> word) lines[name].push_back(word);
  }
  return lines;
}

bool agree(const std::string& a, const std::string& b, bool exact) {
  if (a == b || exact) return a == b;
  const float x = detail::bitsFloat(static_cast<uint32_t>(std::stoul(a, nullptr, 16)));
  const float y = detail::bitsFloat(static_cast<uint32_t>(std::stoul(b, nullptr, 16)));
  return std::abs(x - y) <= 0x1p-10f * std::max(std::abs(x), std::abs(y)) || (std::isnan(x) && std::isnan(y));
}

int compareDumps(const char* pathA, const char* pathB) {
  const auto dumpA = readDump(pathA), dumpB = readDump(pathB);
  int compared = 0, different = 0;
  for (const auto& [name, a] : dumpA) {
    const auto other = dumpB.find(name);
    if (other == dumpB.end()) continue;
    const auto& b = other->second;
    ++compared;
    size_t wrong = a.size() == b.size() ? 0 : 1, first = 0;
    for (size_t i = 1; i < a.size() && i < b.size(); ++i)
      if (!agree(a[i], b[i], a[0] == "exact") && wrong++ == 0) first = i;
    if (!wrong) continue;
    ++different;
    std::printf("%s: %zu of %zu results differ", name.c_str(), wrong, a.size() - 1);
    if (first) std::printf(", the first is number %zu: %s and %s", first - 1, a[first].c_str(), b[first].c_str());
    std::printf("\n");
  }
  std::printf("%d probes compared, %d differ; %zu are in one dump only\n", compared, different, dumpA.size() + dumpB.size() - 2 * compared);
  return different ? 1 : 0;
}

}  // namespace repa::cuda::test

int main(int argc, char** argv) {
  const bool compares = argc == 4 && std::string(argv[1]) == "--compare";
  if (argc != 2 && !compares) {
    std::fprintf(stderr, "usage: %s DUMP | --compare DUMP DUMP\n", argv[0]);
    return 2;
  }
  try {
    if (compares) return repa::cuda::test::compareDumps(argv[2], argv[3]);
    repa::cuda::test::dumpAll(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
