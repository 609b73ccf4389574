// Does the shim do what the chip does? Runs every wrapper of cuda/ptx.h on the same seeded inputs and writes what came out:
//
//     conformance DUMP               writes the dump
//     conformance --compare A B      names the probes that differ; exit status 1 if any does
//
// Built by nvcc it runs on a GPU, built against the shim on a CPU. The dumps are text, one line a probe: its name, "exact" or
// "approximate", and the bits of the results. Exact lines must be the same; the floats of approximate ones are to agree to 2^-10 of their
// size (tanh.approx has 11 bits; the others are far better). Products of matrices are of small integers, exact in any order of summation.
// Lines for sm_90a are left out on a device below. A probe that fails takes the GPU away from its process: its line says "failed" and
// why, and the rest run in a process of their own (probe_session.h).
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/launch.h"
#include "simt/test/attention_probes.h"
#include "simt/test/device_array.h"
#include "simt/test/numbers.h"
#include "simt/test/probe_session.h"
#include "simt/test/probes.h"
#include "simt/test/tensor_map.h"
#include "simt/test/wgmma_operand.h"
#include "simt/test/wgmma_probes.h"

namespace repa::cuda::test {

constexpr LaunchShape oneWarp = {.grid = 1, .block = 32};

template <int count, bool transposed>
void dumpMatrices(ProbeSession& session, bool hopper) {
  const std::string suffix = ".x" + std::to_string(count) + (transposed ? ".trans" : "");
  session.probe("ldmatrix" + suffix, [](Line& line) {
    DeviceArray<uint16_t> elements(randomBits<uint16_t>(64 * count, 30));
    DeviceArray<uint32_t> registers(32 * count);
    launch(nullptr, probeLdmatrix<count, transposed>, oneWarp, elements.data(), registers.data());
    line.exact(registers);
  });
  if constexpr (count > 1) {
    if (!hopper) return;
    session.probe("stmatrix" + suffix, [](Line& line) {
      DeviceArray<uint16_t> stored(64 * count);
      DeviceArray<uint32_t> values(randomBits<uint32_t>(32 * count, 31));
      launch(nullptr, probeStmatrix<count, transposed>, oneWarp, values.data(), stored.data());
      line.exact(stored);
    });
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
void dumpMma(ProbeSession& session, const char* name, const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  session.probe(name, [&](Line& line) {
    DeviceArray<uint32_t> deviceA(a), deviceB(b);
    DeviceArray<float> c(randomIntegers(128, 32)), out(128);
    launch(nullptr, probeMma<product>, oneWarp, deviceA.data(), deviceB.data(), c.data(), out.data());
    line.exact(out);
  });
}

void dumpProducts(ProbeSession& session) {
  dumpMma<Product::bf16K16>(session, "mma.m16n8k16.bf16", packedIntegers<bf16>(128, 33), packedIntegers<bf16>(64, 34));
  dumpMma<Product::f16K16>(session, "mma.m16n8k16.f16", packedIntegers<f16>(128, 35), packedIntegers<f16>(64, 36));
  dumpMma<Product::bf16K8>(session, "mma.m16n8k8.bf16", packedIntegers<bf16>(64, 37), packedIntegers<bf16>(32, 38));
  dumpMma<Product::f16K8>(session, "mma.m16n8k8.f16", packedIntegers<f16>(64, 39), packedIntegers<f16>(32, 40));
  std::vector<uint32_t> a, b;
  // The lower 13 bits are noise that the instruction ignores.
  for (const float x : randomIntegers(128, 41)) a.push_back(detail::floatBits(x) | (x != 0 ? 0x0155u : 0));
  for (const float x : randomIntegers(64, 42)) b.push_back(detail::floatBits(x) | (x != 0 ? 0x0AAAu : 0));
  dumpMma<Product::tf32K8>(session, "mma.m16n8k8.tf32", a, b);
}

template <int bytes>
void dumpCopies(ProbeSession& session) {
  session.probe("cp.async." + std::to_string(bytes), [](Line& line) {
    DeviceArray<unsigned char> in(randomBits<unsigned char>(32 * bytes, 43)), out(32 * bytes);
    launch(nullptr, probeCpAsync<bytes>, oneWarp, in.data(), out.data());
    line.exact(out);
  });
}

template <int count>
void dumpStores(ProbeSession& session) {
  session.probe("st.global.v" + std::to_string(count), [](Line& line) {
    DeviceArray<uint32_t> in(randomBits<uint32_t>(32 * count, 60)), out(32 * count);
    launch(nullptr, probeStoreGlobal<count>, oneWarp, in.data(), out.data());
    line.exact(out);
  });
}

void dumpScalars(ProbeSession& session) {
  session.probe("shuffles", [](Line& line) {
    DeviceArray<uint32_t> lanes(randomBits<uint32_t>(32, 44)), shuffled(11 * 32);
    launch(nullptr, probeShuffles, oneWarp, lanes.data(), shuffled.data());
    line.exact(shuffled);
  });
  const LaunchShape shape = {.grid = 16, .block = 128};
  session.probe("conversions", [&](Line& line) {
    auto values = randomFloats(1000, 45);
    for (const uint32_t bits : randomBits<uint32_t>(1048, 46)) values.push_back(detail::bitsFloat(bits));
    const int n = static_cast<int>(values.size());
    DeviceArray<float> in(values);
    DeviceArray<uint32_t> converted(conversions * n);
    launch(nullptr, probeConversions, shape, in.data(), converted.data(), n);
    line.exact(converted);
  });
  session.probe("approximations", [&](Line& line) {
    const int few = 500;
    DeviceArray<float> normal(randomFloats(few, 47)), approximated(approximations * few);
    launch(nullptr, probeApproximations, shape, normal.data(), approximated.data(), few);
    line.approximate(approximated);
  });
}

template <int rank>
void dumpTma(ProbeSession& session, const std::string& name, const std::vector<uint64_t>& extents, const std::vector<uint32_t>& box,
             Coordinates<rank> at, Coordinates<rank> storedAt, CUtensorMapSwizzle swizzle, bool floats = false) {
  const TensorShape tensorShape{.type = floats ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                .elementBytes = floats ? 4 : 2, .extents = extents, .box = box, .swizzle = swizzle};
  size_t elements = floats ? 2 : 1, bytes = floats ? 4 : 2;  // elements of 16 bits
  for (const uint64_t extent : extents) elements *= extent;
  for (const uint32_t extent : box) bytes *= extent;
  const LaunchShape shape = {.grid = 1, .block = 32, .sharedBytes = bytes + 64};
  session.probe("tma.load." + name, [&](Line& line) {
    DeviceArray<uint16_t> tensor(randomBits<uint16_t>(elements, 48));
    DeviceArray<unsigned char> tile(bytes);
    const CUtensorMap map = tensorMap(tensor.data(), tensorShape);
    launch(nullptr, probeTmaLoad<rank>, shape, map, at, tile.data(), static_cast<int>(bytes));
    line.exact(tile);
  });
  session.probe("tma.store." + name, [&](Line& line) {
    DeviceArray<uint16_t> tensor(randomBits<uint16_t>(elements, 48));
    DeviceArray<unsigned char> image(randomBits<unsigned char>(bytes, 49));
    const CUtensorMap map = tensorMap(tensor.data(), tensorShape);
    launch(nullptr, probeTmaStore<rank>, shape, map, storedAt, image.data(), static_cast<int>(bytes));
    line.exact(tensor);
  });
}

template <class T, int columns, Major majorA, Major majorB, Swizzle swizzleA, Swizzle swizzleB>
void dumpWgmma(ProbeSession& session, const std::string& name) {
  session.probe("wgmma.n" + std::to_string(columns) + "." + name, [](Line& line) {
    const auto layoutA = OperandLayout::make(majorA, swizzleA, 64), layoutB = OperandLayout::make(majorB, swizzleB, columns);
    DeviceArray<unsigned char> a(layoutA.image<T>(randomIntegers(64 * 16, 50))), b(layoutB.image<T>(randomIntegers(columns * 16, 51)));
    DeviceArray<float> c(randomIntegers(64 * columns, 52)), out(64 * columns);
    const WgmmaProbe probe = {layoutA.bytes, layoutB.bytes, layoutA.leading, layoutA.stride, layoutB.leading, layoutB.stride};
    const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = static_cast<size_t>(layoutA.bytes + 1024 + layoutB.bytes)};
    launch(nullptr, probeWgmma<T, columns, majorA, majorB, swizzleA, swizzleB>, shape, probe, a.data(), b.data(), c.data(), out.data());
    line.exact(out);
  });
}

template <class T, int columns, Major majorB, Swizzle swizzleB, bool fresh>
void dumpWgmmaRegisters(ProbeSession& session, const std::string& name) {
  session.probe("wgmma.registers.n" + std::to_string(columns) + "." + name, [](Line& line) {
    const auto layoutB = OperandLayout::make(majorB, swizzleB, columns);
    DeviceArray<uint32_t> a(packedIntegers<T>(4 * 128, 53));
    DeviceArray<unsigned char> b(layoutB.image<T>(randomIntegers(columns * 16, 54)));
    DeviceArray<float> c(randomIntegers(64 * columns, 55)), out(64 * columns);
    const WgmmaProbe probe = {0, layoutB.bytes, 0, 0, layoutB.leading, layoutB.stride};
    const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = static_cast<size_t>(layoutB.bytes)};
    launch(nullptr, probeWgmmaRegisters<T, columns, majorB, swizzleB, fresh>, shape, probe, a.data(), b.data(), c.data(), out.data());
    line.exact(out);
  });
}

template <Swizzle swizzle>
void dumpWgmmaMajors(ProbeSession& session, const std::string& name) {
  dumpWgmma<bf16, 64, Major::k, Major::k, swizzle, swizzle>(session, name + ".k.k");
  dumpWgmma<bf16, 64, Major::k, Major::mn, swizzle, swizzle>(session, name + ".k.mn");
  dumpWgmma<bf16, 64, Major::mn, Major::k, swizzle, swizzle>(session, name + ".mn.k");
  dumpWgmma<bf16, 64, Major::mn, Major::mn, swizzle, swizzle>(session, name + ".mn.mn");
}

template <int... columns>
void dumpWgmmaColumns(ProbeSession& session) {
  (dumpWgmma<bf16, columns, Major::k, Major::k, Swizzle::bytes128, Swizzle::bytes128>(session, "bf16"), ...);
  (dumpWgmma<f16, columns, Major::k, Major::mn, Swizzle::bytes128, Swizzle::bytes128>(session, "f16"), ...);
}

/// The boxes of products' epilogues and of attention: floats, rows of samples past their tokens, boxes that lie beyond the tensor.
void dumpBoxesOfKernels(ProbeSession& session) {
  dumpTma<2>(session, "2d.f32", {40, 20}, {32, 16}, {{32, 8}}, {{32, 8}}, CU_TENSOR_MAP_SWIZZLE_128B, true);
  dumpTma<2>(session, "2d.f32.beyond", {40, 20}, {32, 16}, {{64, 0}}, {{64, 0}}, CU_TENSOR_MAP_SWIZZLE_128B, true);
  dumpTma<2>(session, "2d.128.beyond", {72, 20}, {64, 16}, {{128, 8}}, {{128, 8}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<2>(session, "2d.128.below", {72, 20}, {64, 16}, {{0, 32}}, {{0, 32}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<3>(session, "3d.lines", {216, 129, 2}, {64, 256, 1}, {{72, 0, 1}}, {{72, 0, 1}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<3>(session, "3d.lines.of.272", {192, 257, 2}, {64, 136, 1}, {{64, 136, 0}}, {{64, 136, 0}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<3>(session, "3d.lines.beyond", {216, 129, 2}, {64, 64, 1}, {{72, 192, 0}}, {{72, 192, 0}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<3>(session, "3d.tail", {216, 129, 2}, {8, 256, 1}, {{136, 0, 1}}, {{136, 0, 1}}, CU_TENSOR_MAP_SWIZZLE_NONE);
  dumpTma<3>(session, "3d.tail.beyond", {216, 129, 2}, {8, 64, 1}, {{136, 192, 0}}, {{136, 192, 0}}, CU_TENSOR_MAP_SWIZZLE_NONE);
}

/// What products and attention multiply that the tables of layouts and of columns leave out.
template <class T>
void dumpProductsOfKernels(ProbeSession& session, const std::string& type) {
  constexpr Swizzle lines = Swizzle::bytes128, none = Swizzle::none;
  constexpr Major k = Major::k, mn = Major::mn;
  dumpWgmma<T, 128, k, mn, lines, lines>(session, type + ".128.k.mn");
  dumpWgmma<T, 192, k, mn, lines, lines>(session, type + ".128.k.mn");
  dumpWgmma<T, 256, k, mn, lines, lines>(session, type + ".128.k.mn");
  dumpWgmma<T, 128, k, k, lines, lines>(session, type + ".128.k.k");
  dumpWgmma<T, 192, k, k, lines, lines>(session, type + ".128.k.k");
  dumpWgmma<T, 256, k, k, lines, lines>(session, type + ".128.k.k");
  dumpWgmma<T, 128, mn, mn, lines, lines>(session, type + ".128.mn.mn");
  dumpWgmma<T, 256, mn, mn, lines, lines>(session, type + ".128.mn.mn");
  dumpWgmma<T, 16, k, k, lines, lines>(session, type + ".128.k.k");
  dumpWgmma<T, 64, k, k, none, none>(session, type + ".none.k.k");
  dumpWgmma<T, 256, k, k, none, none>(session, type + ".none.k.k");
  dumpWgmma<T, 64, mn, mn, none, lines>(session, type + ".none.128.mn.mn");
  dumpWgmma<T, 8, mn, mn, none, none>(session, type + ".none.mn.mn");
  dumpWgmmaRegisters<T, 64, mn, lines, true>(session, type + ".128.mn.fresh");
  dumpWgmmaRegisters<T, 64, mn, lines, false>(session, type + ".128.mn");
  dumpWgmmaRegisters<T, 8, mn, none, true>(session, type + ".none.mn.fresh");
  dumpWgmmaRegisters<T, 8, mn, none, false>(session, type + ".none.mn");
}

/// As rowMaps() of attention's kernels, of x [batch, tokens, columns].
template <int kColumns, class T>
RowMaps mapsOfRows(DeviceArray<T>& x, uint64_t batch, uint64_t tokens, uint64_t columns, uint32_t rows) {
  const auto map = [&](uint32_t width) {
    return tensorMap(x.data(), {.type = std::is_same_v<T, bf16> ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                                .extents = {columns, tokens, batch}, .box = {width, rows, 1},
                                .swizzle = width == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
                                           : width == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                         : CU_TENSOR_MAP_SWIZZLE_NONE});
  };
  return {.lines = map(kLine<kColumns>), .tail = map(kTail)};
}

template <class T>
void dumpAttentionTiles(ProbeSession& session, const std::string& type) {
  const auto run = [](Line& line, bool registers) {
    constexpr uint64_t columns = 3 * kProbeColumns, tokens = 129, batch = 2;
    DeviceArray<T> x(rounded<T>(randomIntegers(columns * tokens * batch, 58)));
    DeviceArray<float> out(128 * kProbeSums);
    const auto maps = [&](uint32_t rows) { return mapsOfRows<kProbeColumns>(x, batch, tokens, columns, rows); };
    const LaunchShape shape{.grid = 1, .block = 128, .sharedBytes = kProbeAttentionBytes};
    launch(nullptr, probeAttentionTiles<T>, shape, maps(128), maps(kProbeBlock), out.data());
    registers ? line.exact(out) : line.exact(x);
  };
  session.probe("attention.tiles." + type, [&](Line& line) { run(line, true); });
  session.probe("attention.tiles.stored." + type, [&](Line& line) { run(line, false); });
}

/// 97 tokens: of the 64 rows of what stays 33 are there, and 31 are zeros.
template <class T, int kColumns>
void dumpStreamedTiles(ProbeSession& session, const std::string& type) {
  session.probe("attention.streamed." + std::to_string(kColumns) + "." + type, [](Line& line) {
    constexpr uint64_t columns = 2 * kColumns, tokens = 97, batch = 2;
    DeviceArray<T> x(rounded<T>(randomIntegers(columns * tokens * batch, 60 + kColumns)));
    DeviceArray<float> out(128 * (kProbeBlock + kColumns) / 2);
    const auto maps = [&](uint32_t rows) { return mapsOfRows<kColumns>(x, batch, tokens, columns, rows); };
    launch(nullptr, probeStreamedTiles<T, kColumns>, LaunchShape{.grid = 1, .block = 128, .sharedBytes = kProbeStreamedBytes<kColumns>},
           maps(2 * kProbeBlock), maps(kProbeBlock), out.data());
    line.exact(out);
  });
}

void dumpHopper(ProbeSession& session) {
  dumpTma<2>(session, "2d.128", {80, 40}, {64, 16}, {{32, 32}}, {{32, 32}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<2>(session, "2d.64", {80, 40}, {32, 16}, {{-8, -3}}, {{64, 30}}, CU_TENSOR_MAP_SWIZZLE_64B);
  dumpTma<2>(session, "2d.32", {72, 20}, {16, 8}, {{64, 4}}, {{64, 4}}, CU_TENSOR_MAP_SWIZZLE_32B);
  dumpTma<2>(session, "2d.none", {200, 20}, {136, 8}, {{72, 4}}, {{72, 4}}, CU_TENSOR_MAP_SWIZZLE_NONE);
  dumpTma<3>(session, "3d.128", {72, 9, 3}, {64, 4, 2}, {{8, 6, 1}}, {{8, 6, 1}}, CU_TENSOR_MAP_SWIZZLE_128B);
  dumpTma<3>(session, "3d.32", {72, 3, 9}, {16, 2, 4}, {{64, 2, 6}}, {{64, 2, 6}}, CU_TENSOR_MAP_SWIZZLE_32B);
  dumpTma<3>(session, "3d.none", {72, 9, 3}, {8, 4, 2}, {{64, 6, 1}}, {{64, 6, 1}}, CU_TENSOR_MAP_SWIZZLE_NONE);
  dumpTma<4>(session, "4d.128", {72, 4, 3, 6}, {64, 2, 2, 4}, {{0, 3, 1, 4}}, {{0, 3, 1, 4}}, CU_TENSOR_MAP_SWIZZLE_128B);

  dumpBoxesOfKernels(session);

  dumpWgmmaMajors<Swizzle::bytes128>(session, "128");
  dumpWgmmaMajors<Swizzle::bytes64>(session, "64");
  dumpWgmmaMajors<Swizzle::bytes32>(session, "32");
  dumpWgmmaMajors<Swizzle::none>(session, "none");
  dumpWgmmaColumns<8, 16, 24, 32, 40, 48, 56, 72, 80, 96, 112, 128, 160, 192, 224, 256>(session);
  dumpWgmmaRegisters<bf16, 64, Major::k, Swizzle::bytes128, false>(session, "bf16.k");
  dumpWgmmaRegisters<bf16, 72, Major::mn, Swizzle::bytes128, true>(session, "bf16.mn.fresh");
  dumpWgmmaRegisters<f16, 96, Major::k, Swizzle::bytes64, true>(session, "f16.k.fresh");
  dumpWgmmaRegisters<f16, 192, Major::mn, Swizzle::none, false>(session, "f16.mn");
  dumpProductsOfKernels<bf16>(session, "bf16");
  dumpProductsOfKernels<f16>(session, "f16");
  dumpAttentionTiles<bf16>(session, "bf16");
  dumpAttentionTiles<f16>(session, "f16");
  dumpStreamedTiles<bf16, 32>(session, "bf16");
  dumpStreamedTiles<f16, 64>(session, "f16");
  dumpStreamedTiles<bf16, 72>(session, "bf16");

  session.probe("warpgroups", [](Line& line) {
    DeviceArray<float> in(randomFloats(128, 59)), out(256);
    launch(nullptr, probeWarpgroups, LaunchShape{.grid = 1, .block = 384}, in.data(), out.data());
    line.exact(out);
  });

  session.probe("cluster", [](Line& line) {
    constexpr int blocks = 4, tileBytes = 1024;
    DeviceArray<float> in(randomFloats(32 * blocks, 56)), out(4 * 32 * blocks);
    DeviceArray<uint16_t> tensor(randomBits<uint16_t>(tileBytes / 2, 57));
    const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
    const LaunchShape shape = {.grid = blocks, .block = 32, .sharedBytes = tileBytes + 512, .cluster = 2};
    launch(nullptr, probeCluster, shape, map, in.data(), out.data(), tileBytes);
    line.exact(out);
  });
}

void runProbes(ProbeSession& session) {
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "ask for the compute capability");
  const bool hopper = major == 9;
  dumpMatrices<1, false>(session, hopper);
  dumpMatrices<2, false>(session, hopper);
  dumpMatrices<4, false>(session, hopper);
  dumpMatrices<1, true>(session, hopper);
  dumpMatrices<2, true>(session, hopper);
  dumpMatrices<4, true>(session, hopper);
  dumpProducts(session);
  dumpCopies<4>(session);
  dumpCopies<8>(session);
  dumpCopies<16>(session);
  dumpStores<1>(session);
  dumpStores<2>(session);
  dumpStores<4>(session);
  dumpScalars(session);
  if (hopper) dumpHopper(session);
}

/// The lines of a dump by name: "exact", "approximate" or "failed", then the results or the words of the reason.
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

/// Names the probes of a dump that failed, and says how many there are.
int reportFailures(const char* path, const std::map<std::string, std::vector<std::string>>& dump) {
  int failures = 0;
  for (const auto& [name, words] : dump) {
    if (words.empty() || words[0] != "failed") continue;
    ++failures;
    std::printf("%s failed (%s):", name.c_str(), path);
    for (size_t i = 1; i < words.size(); ++i) std::printf(" %s", words[i].c_str());
    std::printf("\n");
  }
  return failures;
}

int compareDumps(const char* pathA, const char* pathB) {
  const auto dumpA = readDump(pathA), dumpB = readDump(pathB);
  int compared = 0, different = 0;
  const int failures = reportFailures(pathA, dumpA) + reportFailures(pathB, dumpB);
  for (const auto& [name, a] : dumpA) {
    const auto other = dumpB.find(name);
    if (other == dumpB.end()) continue;
    const auto& b = other->second;
    if (a.empty() || b.empty() || a[0] == "failed" || b[0] == "failed") continue;
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
  std::printf("%d probes compared, %d differ, %d failed; %zu lines have no counterpart\n", compared, different, failures,
              dumpA.size() + dumpB.size() - 2 * compared);
  return different || failures ? 1 : 0;
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
    repa::cuda::test::runInProcesses(argv[1], repa::cuda::test::runProbes);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
