// Every wrapper against the manual, in plain C++: what each register holds, and where each byte goes.
#include <algorithm>

#include "core/error.h"
#include "simt/test/check.h"
#include "simt/test/device_array.h"
#include "simt/test/numbers.h"
#include "simt/test/probes.h"
#include "simt/test/tensor_map.h"

#include "cuda/launch.h"

namespace repa::cuda::test {

// ---- ldmatrix, stmatrix

/// The two elements of register m of a lane, as indices into the matrices' elements.
std::pair<int, int> matrixElements(int m, int lane, bool transposed) {
  const int g = lane / 4, t = lane % 4;
  if (transposed) return {64 * m + 8 * (2 * t) + g, 64 * m + 8 * (2 * t + 1) + g};
  return {64 * m + 8 * g + 2 * t, 64 * m + 8 * g + 2 * t + 1};
}

template <int count, bool transposed>
void testLdmatrix() {
  const auto elements = randomBits<uint16_t>(64 * count, 1);
  DeviceArray<uint16_t> in(elements);
  DeviceArray<uint32_t> out(32 * count);
  launch(nullptr, probeLdmatrix<count, transposed>, LaunchShape{.grid = 1, .block = 32}, in.data(), out.data());
  const auto got = out.read();
  for (int m = 0; m < count; ++m)
    for (int lane = 0; lane < 32; ++lane) {
      const auto [lo, hi] = matrixElements(m, lane, transposed);
      expect(got[m * 32 + lane] == (elements[lo] | static_cast<uint32_t>(elements[hi]) << 16),
             "register " + std::to_string(m) + " of lane " + std::to_string(lane));
    }
}

TEST(ldmatrix) {
  testLdmatrix<1, false>();
  testLdmatrix<2, false>();
  testLdmatrix<4, false>();
  testLdmatrix<1, true>();
  testLdmatrix<2, true>();
  testLdmatrix<4, true>();
}

template <int count, bool transposed>
void testStmatrix() {
  const auto registers = randomBits<uint32_t>(32 * count, 2);
  DeviceArray<uint32_t> in(registers);
  DeviceArray<uint16_t> out(64 * count);
  launch(nullptr, probeStmatrix<count, transposed>, LaunchShape{.grid = 1, .block = 32}, in.data(), out.data());
  const auto got = out.read();
  for (int m = 0; m < count; ++m)
    for (int lane = 0; lane < 32; ++lane) {
      const auto [lo, hi] = matrixElements(m, lane, transposed);
      expect(got[lo] == static_cast<uint16_t>(registers[m * 32 + lane]) && got[hi] == registers[m * 32 + lane] >> 16,
             "register " + std::to_string(m) + " of lane " + std::to_string(lane));
    }
}

TEST(stmatrix) {
  testStmatrix<2, false>();
  testStmatrix<4, false>();
  testStmatrix<2, true>();
  testStmatrix<4, true>();
}

// ---- mma

/// Lays a 16 x depth A, a depth x 8 B and a 16 x 8 C out in registers as the manual's figures show, multiplies, and compares.
template <Product product, class T>
void testMma(int depth) {
  constexpr bool tf32 = product == Product::tf32K8;
  const auto a = randomIntegers(16 * depth, 3), b = randomIntegers(depth * 8, 4), c = randomIntegers(16 * 8, 5);
  const int registersA = tf32 ? 4 : depth / 4, registersB = registersA / 2;
  std::vector<uint32_t> inA(32 * registersA), inB(32 * registersB);
  std::vector<float> inC(128);
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, inGroup = lane % 4;
    for (int r = 0; r < registersA; ++r) {
      const int row = group + (r % 2 ? 8 : 0);
      if (tf32) inA[r * 32 + lane] = detail::floatBits(a[row * depth + inGroup + (r >= 2 ? 4 : 0)]);
      else
        inA[r * 32 + lane] = pack2<T>(a[row * depth + inGroup * 2 + (r >= 2 ? 8 : 0)], a[row * depth + inGroup * 2 + 1 + (r >= 2 ? 8 : 0)]);
    }
    for (int r = 0; r < registersB; ++r) {
      if (tf32) inB[r * 32 + lane] = detail::floatBits(b[(inGroup + 4 * r) * 8 + group]);
      else inB[r * 32 + lane] = pack2<T>(b[(inGroup * 2 + 8 * r) * 8 + group], b[(inGroup * 2 + 1 + 8 * r) * 8 + group]);
    }
    for (int r = 0; r < 4; ++r) inC[r * 32 + lane] = c[(group + (r >= 2 ? 8 : 0)) * 8 + inGroup * 2 + r % 2];
  }
  DeviceArray<uint32_t> deviceA(inA), deviceB(inB);
  DeviceArray<float> deviceC(inC), out(128);
  launch(nullptr, probeMma<product>, LaunchShape{.grid = 1, .block = 32}, deviceA.data(), deviceB.data(), deviceC.data(), out.data());
  const auto got = out.read();
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      float want = c[row * 8 + column];
      for (int k = 0; k < depth; ++k) want += a[row * depth + k] * b[k * 8 + column];
      const int lane = row % 8 * 4 + column / 2, r = (row >= 8 ? 2 : 0) + column % 2;
      expect(got[r * 32 + lane] == want, "row " + std::to_string(row) + ", column " + std::to_string(column));
    }
}

TEST(mma) {
  testMma<Product::bf16K16, bf16>(16);
  testMma<Product::f16K16, f16>(16);
  testMma<Product::bf16K8, bf16>(8);
  testMma<Product::f16K8, f16>(8);
  testMma<Product::tf32K8, bf16>(8);
}

// ---- cp.async

template <int bytes>
void testCpAsync() {
  const auto values = randomBits<unsigned char>(32 * bytes, 6);
  DeviceArray<unsigned char> in(values), out(32 * bytes);
  launch(nullptr, probeCpAsync<bytes>, LaunchShape{.grid = 1, .block = 32}, in.data(), out.data());
  const auto got = out.read();
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < bytes; ++i)
      expect(got[lane * bytes + i] == (i < lane ? values[lane * bytes + i] : 0),
             "byte " + std::to_string(i) + " of lane " + std::to_string(lane));
}

TEST(cp_async) {
  testCpAsync<4>();
  testCpAsync<8>();
  testCpAsync<16>();
}

// ---- Between lanes

TEST(shuffles_and_votes) {
  const auto values = randomBits<uint32_t>(32, 7);
  underSeeds([&](const std::string& seed) {
    DeviceArray<uint32_t> in(values), out(11 * 32);
    launch(nullptr, probeShuffles, LaunchShape{.grid = 1, .block = 32}, in.data(), out.data());
    const auto got = out.read();
    uint32_t odd = 0, second = 0;
    for (int lane = 0; lane < 32; ++lane) {
      odd |= (values[lane] & 1) << lane;
      second |= (values[lane] >> 1 & 1) << lane;
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int segment = lane / 8 * 8;
      const uint32_t want[] = {
          values[(lane * 7 + 3) % 32],
          values[lane ^ 5],
          values[lane < 3 ? lane : lane - 3],
          values[lane > 28 ? lane : lane + 3],
          values[segment + 2],
          values[lane ^ 6],
          values[lane % 8 > 5 ? lane : lane + 2],
          odd,
          3,
          values[lane ^ 1],
          second & (lane < 16 ? 0xffffu : 0xffff0000u),
      };
      for (int i = 0; i < 11; ++i)
        expect(got[i * 32 + lane] == want[i], seed + ": result " + std::to_string(i) + " of lane " + std::to_string(lane));
    }
  });
}

// ---- Conversions

/// The nearest number with `bits` of significand after the leading one and exponents from `lowest`, ties to even, by double arithmetic.
double nearest(double x, int bits, int lowest) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), lowest);
  const double unit = std::ldexp(1.0, exponent - bits);
  return std::nearbyint(x / unit) * unit;
}

std::vector<float> awkwardFloats() {
  auto values = randomFloats(4000, 8);
  const auto bits = randomBits<uint32_t>(4000, 9);
  for (const uint32_t b : bits) values.push_back(detail::bitsFloat(b));
  for (int exponent = -30; exponent < 20; ++exponent)
    for (const float offset : {0.0f, 0x1p-11f, 0x1p-10f, 0x3p-11f, 0x1p-8f, 0x1p-9f, 0x3p-9f, 0x1p-12f + 0x1p-22f}) {
      values.push_back(std::ldexp(1.0f + offset, exponent));
      values.push_back(-std::ldexp(1.0f + offset, exponent));
    }
  for (const float x :
       {0.0f, -0.0f, 65504.0f, 65519.9f, 65520.0f, 1e30f, 3.4e38f, INFINITY, -INFINITY, NAN, 2.5f, 3.5f, -2.5f, 2147483648.0f, -3e9f})
    values.push_back(x);
  return values;
}

TEST(conversions) {
  const auto values = awkwardFloats();
  const int n = static_cast<int>(values.size());
  DeviceArray<float> in(values);
  DeviceArray<uint32_t> out(conversions * n);
  launch(nullptr, probeConversions, LaunchShape{.grid = static_cast<unsigned>((n + 127) / 128), .block = 128}, in.data(), out.data(), n);
  const auto got = out.read();
  for (int i = 0; i < n; ++i) {
    const float x = values[i];
    const auto name = [&](const char* what) {
      return std::string(what) + " of " + std::to_string(x) + " (element " + std::to_string(i) + ")";
    };
    const uint16_t b = static_cast<uint16_t>(got[i]), h = static_cast<uint16_t>(got[i] >> 16);
    if (std::isnan(x)) {
      expect(b == 0x7FFF && h == 0x7FFF, name("NaN"));
      continue;
    }
    const double wantB = nearest(x, 7, -126);
    expect(toFloat(bf16{b}) == static_cast<float>(std::abs(wantB) >= 0x1p128 ? std::copysign(INFINITY, x) : wantB), name("bf16"));
    const double wantH = nearest(x, 10, -14);
    expect(toFloat(f16{h}) == static_cast<float>(std::abs(wantH) >= 65536 ? std::copysign(INFINITY, x) : wantH), name("f16"));
    expect(std::signbit(toFloat(f16{h})) == std::signbit(x) && std::signbit(toFloat(bf16{b})) == std::signbit(x), name("the sign"));
    const float next = values[(i + 1) % n];
    expect(got[n + i] == (fromFloat<bf16>(x).bits | static_cast<uint32_t>(fromFloat<bf16>(next).bits) << 16), name("pack2 to bf16"));
    expect(got[2 * n + i] == (fromFloat<f16>(x).bits | static_cast<uint32_t>(fromFloat<f16>(next).bits) << 16), name("pack2 to f16"));
    if (std::isfinite(x) && std::abs(x) > 1e-30f && std::abs(x) < 1e38f) {
      const double unit = std::ldexp(1.0, std::ilogb(x) - 10);
      expect(detail::bitsFloat(got[5 * n + i]) == std::round(x / unit) * unit, name("tf32"));  // std::round: ties away from zero
    }
    const double integer = std::nearbyint(static_cast<double>(x));
    expect(static_cast<int>(got[6 * n + i]) == static_cast<int>(std::clamp(integer, -2147483648.0, 2147483647.0)), name("the integer"));
  }
  // Every f16, exactly.
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10);
    const double want = exponent == 0 ? std::ldexp(bits, -24) : std::ldexp(1024 + (bits & 1023), exponent - 25);
    expect(toFloat(f16{static_cast<uint16_t>(bits)}) == want && fromFloat<f16>(static_cast<float>(want)).bits == bits,
           "f16 " + std::to_string(bits));
  }
}

TEST(approximations) {
  std::vector<float> values = randomFloats(1000, 10);
  const int n = static_cast<int>(values.size());
  DeviceArray<float> in(values), out(approximations * n);
  launch(nullptr, probeApproximations, LaunchShape{.grid = 8, .block = 128}, in.data(), out.data(), n);
  const auto got = out.read();
  for (int i = 0; i < n; ++i) {
    const double x = values[i];
    const double want[] = {std::exp2(x), std::log2(std::abs(x)), std::tanh(x), 1 / x,       1 / std::sqrt(std::abs(x)), std::exp(x),
                           1.5 / x,      std::exp2(x),           std::erf(x),  std::tanh(x)};
    for (int f = 0; f < approximations; ++f)
      expect(std::abs(got[f * n + i] - want[f]) <= 1e-6 * std::max(1.0, std::abs(want[f])),
             "function " + std::to_string(f) + " of " + std::to_string(x));
  }
}

// ---- TMA

/// Where byte `byte` of line `line` of a tile goes: sixteen-byte pieces change places within 128 bytes, by the line's number.
size_t swizzledPosition(size_t lineBytes, CUtensorMapSwizzle swizzle, size_t line, size_t byte) {
  const size_t position = line * lineBytes + byte;
  const size_t row128 = position / 128 % 8, piece = position / 16 % 8;
  size_t moved = piece;
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_128B) moved = piece ^ row128;
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_64B) moved = piece ^ (row128 / 1 % 4);
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_32B) moved = piece ^ (row128 % 2);
  return position / 128 * 128 + moved * 16 + position % 16;
}

template <int rank>
void testTma(std::vector<uint64_t> extents, std::vector<uint32_t> box, Coordinates<rank> at, CUtensorMapSwizzle swizzle) {
  size_t elements = 1, boxElements = 1;
  for (const uint64_t extent : extents) elements *= extent;
  for (const uint32_t extent : box) boxElements *= extent;
  const auto values = randomBits<uint16_t>(elements, 11);
  DeviceArray<uint16_t> tensor(values);
  DeviceArray<unsigned char> out(boxElements * 2);
  const CUtensorMap map = tensorMap(tensor.data(), {.extents = extents, .box = box, .swizzle = swizzle});
  const int bytes = static_cast<int>(boxElements * 2);
  const LaunchShape shape = {.grid = 1, .block = 32, .sharedBytes = static_cast<size_t>(bytes) + 64};
  launch(nullptr, probeTmaLoad<rank>, shape, map, at, out.data(), bytes);
  const auto got = out.read();

  /// The element of the tensor that element i of the box is, or -1 outside.
  const auto source = [&](size_t i) {
    int64_t index = 0, stride = 1;
    for (int d = 0; d < rank; ++d) {
      const int64_t position = at.at[d] + static_cast<int64_t>(i % box[d]);
      i /= box[d];
      if (position < 0 || position >= static_cast<int64_t>(extents[d])) return int64_t{-1};
      index += position * stride;
      stride *= extents[d];
    }
    return index;
  };
  for (size_t i = 0; i < boxElements; ++i) {
    const size_t position = swizzledPosition(box[0] * 2, swizzle, i / box[0], i % box[0] * 2);
    uint16_t value;
    std::memcpy(&value, &got[position], 2);
    const int64_t from = source(i);
    expect(value == (from < 0 ? 0 : values[from]),
           "element " + std::to_string(i) + " of the tile loaded, swizzle " + std::to_string(swizzle));
  }

  // A store begins within the tensor.
  for (int& position : at.at) position = std::max(position, 0);
  const auto image = randomBits<unsigned char>(bytes, 12);
  DeviceArray<unsigned char> deviceImage(image);
  launch(nullptr, probeTmaStore<rank>, LaunchShape{.grid = 1, .block = 32, .sharedBytes = static_cast<size_t>(bytes)}, map, at,
         deviceImage.data(), bytes);
  auto want = values;
  for (size_t i = 0; i < boxElements; ++i)
    if (source(i) >= 0) std::memcpy(&want[source(i)], &image[swizzledPosition(box[0] * 2, swizzle, i / box[0], i % box[0] * 2)], 2);
  expect(tensor.read() == want, "the tensor after the store, swizzle " + std::to_string(swizzle));
}

TEST(tma) {
  underSeeds([](const std::string&) {
    testTma<2>({64, 40}, {64, 16}, {{0, 8}}, CU_TENSOR_MAP_SWIZZLE_128B);
    testTma<2>({80, 40}, {64, 16}, {{32, 32}}, CU_TENSOR_MAP_SWIZZLE_128B);
    testTma<2>({80, 40}, {32, 16}, {{-8, -3}}, CU_TENSOR_MAP_SWIZZLE_64B);
    testTma<2>({72, 20}, {16, 8}, {{64, 4}}, CU_TENSOR_MAP_SWIZZLE_32B);
    testTma<2>({200, 20}, {136, 8}, {{72, 4}}, CU_TENSOR_MAP_SWIZZLE_NONE);
    testTma<3>({72, 9, 3}, {64, 4, 2}, {{8, 6, 1}}, CU_TENSOR_MAP_SWIZZLE_128B);
    testTma<3>({72, 3, 9}, {16, 2, 5}, {{64, 2, 6}}, CU_TENSOR_MAP_SWIZZLE_32B);
    testTma<4>({72, 4, 3, 6}, {64, 2, 2, 4}, {{0, 3, 1, 4}}, CU_TENSOR_MAP_SWIZZLE_128B);
  });
}

TEST(tensor_maps_that_the_driver_refuses) {
  DeviceArray<uint16_t> memory(4096);
  const auto refused = [&](const TensorShape& shape) {
    try {
      [[maybe_unused]] const CUtensorMap map = tensorMap(memory.data(), shape);
      return false;
    } catch (const Error&) {
      return true;
    }
  };
  expect(!refused({.extents = {64, 8}, .box = {64, 8}, .swizzle = CU_TENSOR_MAP_SWIZZLE_128B}), "a good map");
  expect(refused({.extents = {128, 8}, .box = {128, 8}, .swizzle = CU_TENSOR_MAP_SWIZZLE_128B}), "a box wider than the swizzle");
  expect(refused({.extents = {64, 8}, .box = {60, 8}}), "a box row that is no multiple of 16 bytes");
  expect(refused({.extents = {60, 8}, .box = {32, 8}}), "a stride that is no multiple of 16 bytes");
  expect(refused({.extents = {64, 1024}, .box = {64, 257}}), "a box of more than 256");
  expect(refused({.extents = {64, 8}, .strides = {112}, .box = {64, 8}}), "rows that overlap");
}

// ---- Clusters

TEST(clusters) {
  const int blocks = 4, tileBytes = 1024;
  const auto values = randomFloats(32 * blocks, 13);
  const auto bytes = randomBits<uint16_t>(tileBytes / 2, 14);
  underSeeds([&](const std::string& seed) {
    DeviceArray<float> in(values), out(4 * 32 * blocks);
    DeviceArray<uint16_t> tensor(bytes);
    const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
    const LaunchShape shape = {.grid = blocks, .block = 32, .sharedBytes = tileBytes + 512, .cluster = 2};
    launch(nullptr, probeCluster, shape, map, in.data(), out.data(), tileBytes);
    const auto got = out.read();
    for (int block = 0; block < blocks; ++block)
      for (int lane = 0; lane < 32; ++lane) {
        const float* other = values.data() + (block ^ 1) * 32;
        const int i = block * 32 + lane, row = blocks * 32;
        expect(got[i] == other[31 - lane], seed + ": ld.shared::cluster");
        expect(got[row + i] == other[lane / 4 * 4] + other[lane / 4 * 4 + 3], seed + ": ld.shared::cluster.v4");
        expect(detail::floatBits(got[2 * row + i]) == detail::floatBits(other[lane]) + lane, seed + ": st.async");
        expect(got[3 * row + i] == static_cast<float>(reinterpret_cast<const unsigned char*>(bytes.data())[lane]), seed + ": multicast");
      }
  });
}

}  // namespace repa::cuda::test
