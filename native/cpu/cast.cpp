#include "cpu/cast.h"

#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kElementsPerChunk = 1 << 15;

// convert(from, to, count) over pieces of both arrays, in parallel.
template <class From, class To, class Convert>
void cast(ThreadPool& pool, const CastArgs& args, Convert convert) {
  pool.parallelFor((args.count + kElementsPerChunk - 1) / kElementsPerChunk, [&](int64_t chunk, int) {
    const int64_t begin = chunk * kElementsPerChunk;
    const int64_t count = begin + kElementsPerChunk < args.count ? kElementsPerChunk : args.count - begin;
    convert(static_cast<const From*>(args.input) + begin, static_cast<To*>(args.output) + begin, count);
  });
}

uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Element by element, without branches: the compiler makes vectors of these.

// The upper half of the float, rounded by adding just under half a unit, plus one if the kept part is odd.
uint16_t toBf16(float value) {
  const uint32_t bits = bitsOf(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quietNan = (bits >> 16) | 0x40u;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? quietNan : rounded);
}

// f16 has 5 bits of exponent (bias 15) and 10 of significand. Normal results: rebias, and round as above. Subnormal
// ones: adding 0.5 lets the float adder round to multiples of 2^-24. NaN keeps the upper bits of its payload and
// becomes quiet, as the hardware conversion has it.
uint16_t toF16(float value) {
  const uint32_t bits = bitsOf(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint32_t normal = (magnitude - (112u << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t subnormal = bitsOf(fromBits(magnitude) + 0.5f) - bitsOf(0.5f);
  const uint32_t quietNan = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
  uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
  result = magnitude >= 0x477FF000u ? 0x7C00u : result;  // 65520 and above round to infinity
  result = magnitude > 0x7F800000u ? quietNan : result;
  return static_cast<uint16_t>(sign | result);
}

// Shifting the bits into a float's places leaves the exponent 112 too small, which a product with 2^112 mends for
// normal and subnormal numbers alike; infinity and NaN get their exponent afterwards.
float fromF16(uint16_t half) {
  const uint32_t magnitude = half & 0x7FFFu;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t finite = bitsOf(fromBits(magnitude << 13) * fromBits((127u + 112u) << 23));
  const uint32_t quiet = magnitude > 0x7C00u ? 0x400000u : 0u;
  const uint32_t result = magnitude >= 0x7C00u ? finite | 0x7F800000u | quiet : finite;
  return fromBits(result | sign);
}

#if defined(__AVX512F__)
// g++ 12 warns of its own undefined operand in the unmasked 512-bit conversions; masks of ones compile to the same.
constexpr __mmask16 kAllLanes = 0xFFFF;
#endif
#if defined(__AVX2__)
constexpr int kToNearestEven = _MM_FROUND_TO_NEAREST_INT;
#endif

void f32ToBf16(ThreadPool& pool, const CastArgs& args) {
  cast<float, uint16_t>(pool, args, [](const float* from, uint16_t* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = toBf16(from[i]);
  });
}

void bf16ToF32(ThreadPool& pool, const CastArgs& args) {
  cast<uint16_t, float>(pool, args, [](const uint16_t* from, float* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = fromBits(static_cast<uint32_t>(from[i]) << 16);
  });
}

void f32ToF16(ThreadPool& pool, const CastArgs& args) {
  cast<float, uint16_t>(pool, args, [](const float* from, uint16_t* to, int64_t count) {
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                          _mm512_maskz_cvtps_ph(kAllLanes, _mm512_loadu_ps(from + i), kToNearestEven));
#elif defined(__AVX2__)
    for (; i + 8 <= count; i += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), kToNearestEven));
#endif
    for (; i < count; ++i) to[i] = toF16(from[i]);
  });
}

void f16ToF32(ThreadPool& pool, const CastArgs& args) {
  cast<uint16_t, float>(pool, args, [](const uint16_t* from, float* to, int64_t count) {
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16)
      _mm512_storeu_ps(to + i, _mm512_maskz_cvtph_ps(
                                   kAllLanes, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
#elif defined(__AVX2__)
    for (; i + 8 <= count; i += 8)
      _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#endif
    for (; i < count; ++i) to[i] = fromF16(from[i]);
  });
}

// Between types that C++ converts as wanted.
template <class From, class To>
void castByValue(ThreadPool& pool, const CastArgs& args) {
  cast<From, To>(pool, args, [](const From* from, To* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const CastKernels& castKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr CastKernels table = {f32ToBf16,
                                        bf16ToF32,
                                        f32ToF16,
                                        f16ToF32,
                                        castByValue<float, double>,
                                        castByValue<double, float>,
                                        castByValue<uint8_t, float>,
                                        castByValue<int32_t, float>};
  return table;
}

}  // namespace repa::cpu
