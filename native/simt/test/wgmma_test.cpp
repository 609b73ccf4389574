// wgmma with every layout of its operands, against plain C++.
#include "cuda/launch.h"
#include "simt/test/check.h"
#include "simt/test/device_array.h"
#include "simt/test/numbers.h"
#include "simt/test/wgmma_operand.h"
#include "simt/test/wgmma_probes.h"

namespace repa::cuda::test {

/// a is 64 x 16 and b columns x 16, both row by row.
std::vector<float> expected(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c, int columns,
                            bool accumulate) {
  std::vector<float> result(columns / 2 * 128);
  for (int i = 0; i < columns / 2; ++i)
    for (int thread = 0; thread < 128; ++thread) {
      const int row = accumulatorRow(thread, i), column = accumulatorColumn(thread, i);
      float sum = accumulate ? c[i * 128 + thread] : 0;
      for (int k = 0; k < 16; ++k) sum += a[row * 16 + k] * b[column * 16 + k];
      result[i * 128 + thread] = sum;
    }
  return result;
}

template <class T, int columns, Major majorA, Major majorB, Swizzle swizzleA, Swizzle swizzleB>
void testShared() {
  const auto a = randomIntegers(64 * 16, 20), b = randomIntegers(columns * 16, 21), c = randomIntegers(64 * columns, 22);
  const auto layoutA = OperandLayout::make(majorA, swizzleA, 64), layoutB = OperandLayout::make(majorB, swizzleB, columns);
  DeviceArray<unsigned char> deviceA(layoutA.image<T>(a)), deviceB(layoutB.image<T>(b));
  DeviceArray<float> deviceC(c), out(64 * columns);
  const WgmmaProbe probe = {layoutA.bytes, layoutB.bytes, layoutA.leading, layoutA.stride, layoutB.leading, layoutB.stride};
  const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = static_cast<size_t>(layoutA.bytes + 1024 + layoutB.bytes)};
  launch(nullptr, probeWgmma<T, columns, majorA, majorB, swizzleA, swizzleB>, shape, probe, deviceA.data(), deviceB.data(), deviceC.data(),
         out.data());
  expect(out.read() == expected(a, b, c, columns, true),
         std::to_string(columns) + " columns, majors " + std::to_string(static_cast<int>(majorA)) +
             std::to_string(static_cast<int>(majorB)) + ", swizzles " + std::to_string(static_cast<int>(swizzleA)) +
             std::to_string(static_cast<int>(swizzleB)));
}

template <class T, int columns, Swizzle swizzle>
void testMajors() {
  testShared<T, columns, Major::k, Major::k, swizzle, swizzle>();
  testShared<T, columns, Major::k, Major::mn, swizzle, swizzle>();
  testShared<T, columns, Major::mn, Major::k, swizzle, swizzle>();
  testShared<T, columns, Major::mn, Major::mn, swizzle, swizzle>();
}

TEST(wgmma_operands_in_shared_memory) {
  testMajors<bf16, 64, Swizzle::bytes128>();
  testMajors<bf16, 64, Swizzle::bytes64>();
  testMajors<bf16, 64, Swizzle::bytes32>();
  testMajors<bf16, 64, Swizzle::none>();
  testMajors<f16, 128, Swizzle::bytes128>();
  testShared<bf16, 8, Major::k, Major::k, Swizzle::bytes128, Swizzle::none>();
  testShared<bf16, 72, Major::k, Major::k, Swizzle::bytes32, Swizzle::bytes128>();
  testShared<bf16, 72, Major::k, Major::mn, Swizzle::bytes128, Swizzle::bytes128>();
  testShared<bf16, 80, Major::k, Major::mn, Swizzle::bytes64, Swizzle::bytes32>();
  testShared<f16, 256, Major::mn, Major::mn, Swizzle::bytes128, Swizzle::bytes128>();
}

template <class T, int columns, Major majorB, Swizzle swizzleB, bool fresh>
void testRegisters() {
  const auto a = randomIntegers(64 * 16, 23), b = randomIntegers(columns * 16, 24), c = randomIntegers(64 * columns, 25);
  std::vector<uint32_t> fragments(4 * 128);
  for (int thread = 0; thread < 128; ++thread)
    for (int r = 0; r < 4; ++r) {
      const int row = thread / 32 * 16 + thread % 32 / 4 + (r % 2 ? 8 : 0), column = thread % 4 * 2 + (r >= 2 ? 8 : 0);
      fragments[r * 128 + thread] = pack2<T>(a[row * 16 + column], a[row * 16 + column + 1]);
    }
  const auto layoutB = OperandLayout::make(majorB, swizzleB, columns);
  DeviceArray<uint32_t> deviceA(fragments);
  DeviceArray<unsigned char> deviceB(layoutB.image<T>(b));
  DeviceArray<float> deviceC(c), out(64 * columns);
  const WgmmaProbe probe = {0, layoutB.bytes, 0, 0, layoutB.leading, layoutB.stride};
  const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = static_cast<size_t>(layoutB.bytes)};
  launch(nullptr, probeWgmmaRegisters<T, columns, majorB, swizzleB, fresh>, shape, probe, deviceA.data(), deviceB.data(), deviceC.data(),
         out.data());
  expect(out.read() == expected(a, b, c, columns, !fresh), std::to_string(columns) + " columns");
}

TEST(wgmma_with_a_in_registers) {
  testRegisters<bf16, 64, Major::k, Swizzle::bytes128, false>();
  testRegisters<bf16, 72, Major::mn, Swizzle::bytes128, true>();
  testRegisters<f16, 96, Major::k, Swizzle::bytes64, true>();
  testRegisters<f16, 192, Major::mn, Swizzle::none, false>();
}

}  // namespace repa::cuda::test
