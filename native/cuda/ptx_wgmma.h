// wgmma: the product of a 64 x 16 tile and a 16 x N tile by the four warps of a warpgroup, 9.7.15. Included by ptx.h; for sm_90a.
//
// Lane 4 g + t of warp w holds rows 16 w + g and 16 w + g + 8: register i is row 16 w + g + 8 (i / 2 % 2), column 8 (i / 4) + 2 t + i % 2.
// The products run while the threads go on. What they read and write is theirs until wgmmaWait:
//     wgmmaFence(); wgmma<...>(sums, a, b); ... wgmmaCommit(); ... wgmmaWait<0>(); wgmmaHold(sums);
#pragma once

#include <cstdint>

#include "cuda/ptx_hopper.h"

namespace repa::cuda {

/// How 16-byte pieces are exchanged within the lines of a tile, so that rows and columns fall into different banks: as the TMA writes them.
enum class Swizzle : uint64_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

/// Which dimension of an operand is contiguous: K, or the operand's own (M for A, N for B).
enum class Major : int { k = 0, mn = 1 };

/// Where a tile stands in shared memory and how. 9.7.15.5.1.2.2.
struct MatrixDescriptor {
  uint64_t bits;
};

/// A swizzled tile consists of lines of W = 32, 64 or 128 bytes in groups of eight; it starts at a multiple of 8 W bytes.
///   K-major: a line is one row (M or N) and W / 2 elements along K. `strideBytes` from eight rows to the next; `leadingBytes` is not
///   used.
///   MN-major: a line is one k and W / 2 elements along M or N. `strideBytes` from eight k to the next, `leadingBytes` from W / 2
///   elements along M or N to the next.
/// Without swizzle a tile consists of 8 x 8 matrices of 128 contiguous bytes, lines of 16 bytes like those above: `leadingBytes` from one
/// to the next along K, `strideBytes` along M or N.
__device__ __forceinline__ MatrixDescriptor matrixDescriptor(const void* tile, unsigned leadingBytes, unsigned strideBytes,
                                                             Swizzle swizzle) {
  return {static_cast<uint64_t>(sharedAddress(tile) >> 4 & 0x3FFF) | static_cast<uint64_t>(leadingBytes >> 4 & 0x3FFF) << 16 |
          static_cast<uint64_t>(strideBytes >> 4 & 0x3FFF) << 32 | static_cast<uint64_t>(swizzle) << 62};
}

/// The tile that starts so many bytes further: 32 for the next 16 elements along K within a line.
__device__ __forceinline__ MatrixDescriptor advance(MatrixDescriptor descriptor, unsigned bytes) {
  return {descriptor.bits + (bytes >> 4)};
}

/// Orders what the threads did to registers before the wgmma that follow.
__device__ __forceinline__ void wgmmaFence() { REPA_SM90A_ASM("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmmaCommit() { REPA_SM90A_ASM("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Returns when at most the `newest` latest groups are still under way.
template <int newest>
__device__ __forceinline__ void wgmmaWait() {
  REPA_SM90A_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(newest) : "memory");
}

/// The compiler knows of no tie between a wait and the registers that it makes valid; this keeps it from reading them before.
template <int registers>
__device__ __forceinline__ void wgmmaHold(float (&d)[registers]) {
#pragma unroll
  for (int i = 0; i < registers; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

namespace detail {

template <class T, int columns, Major majorA, Major majorB>
struct Wgmma;

// The accumulator's registers by number of columns: their names in the instruction, and the operands. Eight columns are four registers.
#define REPA_WGMMA_NAMES_8 "%0,%1,%2,%3"
#define REPA_WGMMA_NAMES_16 REPA_WGMMA_NAMES_8 ",%4,%5,%6,%7"
#define REPA_WGMMA_NAMES_24 REPA_WGMMA_NAMES_16 ",%8,%9,%10,%11"
#define REPA_WGMMA_NAMES_32 REPA_WGMMA_NAMES_24 ",%12,%13,%14,%15"
#define REPA_WGMMA_NAMES_40 REPA_WGMMA_NAMES_32 ",%16,%17,%18,%19"
#define REPA_WGMMA_NAMES_48 REPA_WGMMA_NAMES_40 ",%20,%21,%22,%23"
#define REPA_WGMMA_NAMES_56 REPA_WGMMA_NAMES_48 ",%24,%25,%26,%27"
#define REPA_WGMMA_NAMES_64 REPA_WGMMA_NAMES_56 ",%28,%29,%30,%31"
#define REPA_WGMMA_NAMES_72 REPA_WGMMA_NAMES_64 ",%32,%33,%34,%35"
#define REPA_WGMMA_NAMES_80 REPA_WGMMA_NAMES_72 ",%36,%37,%38,%39"
#define REPA_WGMMA_NAMES_88 REPA_WGMMA_NAMES_80 ",%40,%41,%42,%43"
#define REPA_WGMMA_NAMES_96 REPA_WGMMA_NAMES_88 ",%44,%45,%46,%47"
#define REPA_WGMMA_NAMES_104 REPA_WGMMA_NAMES_96 ",%48,%49,%50,%51"
#define REPA_WGMMA_NAMES_112 REPA_WGMMA_NAMES_104 ",%52,%53,%54,%55"
#define REPA_WGMMA_NAMES_120 REPA_WGMMA_NAMES_112 ",%56,%57,%58,%59"
#define REPA_WGMMA_NAMES_128 REPA_WGMMA_NAMES_120 ",%60,%61,%62,%63"
#define REPA_WGMMA_NAMES_136 REPA_WGMMA_NAMES_128 ",%64,%65,%66,%67"
#define REPA_WGMMA_NAMES_144 REPA_WGMMA_NAMES_136 ",%68,%69,%70,%71"
#define REPA_WGMMA_NAMES_152 REPA_WGMMA_NAMES_144 ",%72,%73,%74,%75"
#define REPA_WGMMA_NAMES_160 REPA_WGMMA_NAMES_152 ",%76,%77,%78,%79"
#define REPA_WGMMA_NAMES_168 REPA_WGMMA_NAMES_160 ",%80,%81,%82,%83"
#define REPA_WGMMA_NAMES_176 REPA_WGMMA_NAMES_168 ",%84,%85,%86,%87"
#define REPA_WGMMA_NAMES_184 REPA_WGMMA_NAMES_176 ",%88,%89,%90,%91"
#define REPA_WGMMA_NAMES_192 REPA_WGMMA_NAMES_184 ",%92,%93,%94,%95"
#define REPA_WGMMA_NAMES_200 REPA_WGMMA_NAMES_192 ",%96,%97,%98,%99"
#define REPA_WGMMA_NAMES_208 REPA_WGMMA_NAMES_200 ",%100,%101,%102,%103"
#define REPA_WGMMA_NAMES_216 REPA_WGMMA_NAMES_208 ",%104,%105,%106,%107"
#define REPA_WGMMA_NAMES_224 REPA_WGMMA_NAMES_216 ",%108,%109,%110,%111"
#define REPA_WGMMA_NAMES_232 REPA_WGMMA_NAMES_224 ",%112,%113,%114,%115"
#define REPA_WGMMA_NAMES_240 REPA_WGMMA_NAMES_232 ",%116,%117,%118,%119"
#define REPA_WGMMA_NAMES_248 REPA_WGMMA_NAMES_240 ",%120,%121,%122,%123"
#define REPA_WGMMA_NAMES_256 REPA_WGMMA_NAMES_248 ",%124,%125,%126,%127"
#define REPA_WGMMA_REGISTERS_8 "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define REPA_WGMMA_REGISTERS_16 REPA_WGMMA_REGISTERS_8, "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define REPA_WGMMA_REGISTERS_24 REPA_WGMMA_REGISTERS_16, "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define REPA_WGMMA_REGISTERS_32 REPA_WGMMA_REGISTERS_24, "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define REPA_WGMMA_REGISTERS_40 REPA_WGMMA_REGISTERS_32, "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
#define REPA_WGMMA_REGISTERS_48 REPA_WGMMA_REGISTERS_40, "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
#define REPA_WGMMA_REGISTERS_56 REPA_WGMMA_REGISTERS_48, "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27])
#define REPA_WGMMA_REGISTERS_64 REPA_WGMMA_REGISTERS_56, "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define REPA_WGMMA_REGISTERS_72 REPA_WGMMA_REGISTERS_64, "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
#define REPA_WGMMA_REGISTERS_80 REPA_WGMMA_REGISTERS_72, "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
#define REPA_WGMMA_REGISTERS_88 REPA_WGMMA_REGISTERS_80, "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43])
#define REPA_WGMMA_REGISTERS_96 REPA_WGMMA_REGISTERS_88, "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define REPA_WGMMA_REGISTERS_104 REPA_WGMMA_REGISTERS_96, "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51])
#define REPA_WGMMA_REGISTERS_112 REPA_WGMMA_REGISTERS_104, "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define REPA_WGMMA_REGISTERS_120 REPA_WGMMA_REGISTERS_112, "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59])
#define REPA_WGMMA_REGISTERS_128 REPA_WGMMA_REGISTERS_120, "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define REPA_WGMMA_REGISTERS_136 REPA_WGMMA_REGISTERS_128, "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67])
#define REPA_WGMMA_REGISTERS_144 REPA_WGMMA_REGISTERS_136, "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71])
#define REPA_WGMMA_REGISTERS_152 REPA_WGMMA_REGISTERS_144, "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75])
#define REPA_WGMMA_REGISTERS_160 REPA_WGMMA_REGISTERS_152, "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define REPA_WGMMA_REGISTERS_168 REPA_WGMMA_REGISTERS_160, "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83])
#define REPA_WGMMA_REGISTERS_176 REPA_WGMMA_REGISTERS_168, "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define REPA_WGMMA_REGISTERS_184 REPA_WGMMA_REGISTERS_176, "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91])
#define REPA_WGMMA_REGISTERS_192 REPA_WGMMA_REGISTERS_184, "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define REPA_WGMMA_REGISTERS_200 REPA_WGMMA_REGISTERS_192, "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99])
#define REPA_WGMMA_REGISTERS_208 REPA_WGMMA_REGISTERS_200, "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103])
#define REPA_WGMMA_REGISTERS_216 REPA_WGMMA_REGISTERS_208, "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107])
#define REPA_WGMMA_REGISTERS_224 REPA_WGMMA_REGISTERS_216, "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define REPA_WGMMA_REGISTERS_232 REPA_WGMMA_REGISTERS_224, "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115])
#define REPA_WGMMA_REGISTERS_240 REPA_WGMMA_REGISTERS_232, "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119])
#define REPA_WGMMA_REGISTERS_248 REPA_WGMMA_REGISTERS_240, "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123])
#define REPA_WGMMA_REGISTERS_256 REPA_WGMMA_REGISTERS_248, "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])

// `r0` .. name the operands after the registers: %(N / 2) and so on.
#define REPA_WGMMA(T, type, N, r0, r1, r2, r3, r4, r5, r6)                                                                                 \
  template <Major majorA, Major majorB>                                                                                                    \
  struct Wgmma<T, N, majorA, majorB> {                                                                                                     \
    static __device__ __forceinline__ void fromShared(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {                         \
      REPA_SM90A_ASM("{\n .reg .pred p;\n setp.ne.b32 p, " r2 ", 0;\n wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {"  \
                     REPA_WGMMA_NAMES_##N "}, " r0 ", " r1 ", p, 1, 1, " r3 ", " r4 ";\n}"                                                 \
                     : REPA_WGMMA_REGISTERS_##N                                                                                            \
                     : "l"(a), "l"(b), "r"(accumulate), "n"(static_cast<int>(majorA)), "n"(static_cast<int>(majorB)));                     \
    }                                                                                                                                      \
    static __device__ __forceinline__ void fromRegisters(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {          \
      REPA_SM90A_ASM("{\n .reg .pred p;\n setp.ne.b32 p, " r5 ", 0;\n wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {"  \
                     REPA_WGMMA_NAMES_##N "}, {" r0 "," r1 "," r2 "," r3 "}, " r4 ", p, 1, 1, " r6 ";\n}"                                  \
                     : REPA_WGMMA_REGISTERS_##N                                                                                            \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(static_cast<int>(majorB)));                \
    }                                                                                                                                      \
  };
#define REPA_WGMMA_BOTH(N, ...)           \
  REPA_WGMMA(bf16, "bf16", N, __VA_ARGS__) \
  REPA_WGMMA(f16, "f16", N, __VA_ARGS__)

REPA_WGMMA_BOTH(8, "%4", "%5", "%6", "%7", "%8", "%9", "%10")
REPA_WGMMA_BOTH(16, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
REPA_WGMMA_BOTH(24, "%12", "%13", "%14", "%15", "%16", "%17", "%18")
REPA_WGMMA_BOTH(32, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
REPA_WGMMA_BOTH(40, "%20", "%21", "%22", "%23", "%24", "%25", "%26")
REPA_WGMMA_BOTH(48, "%24", "%25", "%26", "%27", "%28", "%29", "%30")
REPA_WGMMA_BOTH(56, "%28", "%29", "%30", "%31", "%32", "%33", "%34")
REPA_WGMMA_BOTH(64, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
REPA_WGMMA_BOTH(72, "%36", "%37", "%38", "%39", "%40", "%41", "%42")
REPA_WGMMA_BOTH(80, "%40", "%41", "%42", "%43", "%44", "%45", "%46")
REPA_WGMMA_BOTH(88, "%44", "%45", "%46", "%47", "%48", "%49", "%50")
REPA_WGMMA_BOTH(96, "%48", "%49", "%50", "%51", "%52", "%53", "%54")
REPA_WGMMA_BOTH(104, "%52", "%53", "%54", "%55", "%56", "%57", "%58")
REPA_WGMMA_BOTH(112, "%56", "%57", "%58", "%59", "%60", "%61", "%62")
REPA_WGMMA_BOTH(120, "%60", "%61", "%62", "%63", "%64", "%65", "%66")
REPA_WGMMA_BOTH(128, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
REPA_WGMMA_BOTH(144, "%72", "%73", "%74", "%75", "%76", "%77", "%78")
REPA_WGMMA_BOTH(160, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
REPA_WGMMA_BOTH(176, "%88", "%89", "%90", "%91", "%92", "%93", "%94")
REPA_WGMMA_BOTH(192, "%96", "%97", "%98", "%99", "%100", "%101", "%102")
REPA_WGMMA_BOTH(208, "%104", "%105", "%106", "%107", "%108", "%109", "%110")
REPA_WGMMA_BOTH(224, "%112", "%113", "%114", "%115", "%116", "%117", "%118")
REPA_WGMMA_BOTH(240, "%120", "%121", "%122", "%123", "%124", "%125", "%126")
REPA_WGMMA_BOTH(256, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

#undef REPA_WGMMA_BOTH
#undef REPA_WGMMA
#undef REPA_WGMMA_NAMES_8
#undef REPA_WGMMA_REGISTERS_8
#undef REPA_WGMMA_NAMES_16
#undef REPA_WGMMA_REGISTERS_16
#undef REPA_WGMMA_NAMES_24
#undef REPA_WGMMA_REGISTERS_24
#undef REPA_WGMMA_NAMES_32
#undef REPA_WGMMA_REGISTERS_32
#undef REPA_WGMMA_NAMES_40
#undef REPA_WGMMA_REGISTERS_40
#undef REPA_WGMMA_NAMES_48
#undef REPA_WGMMA_REGISTERS_48
#undef REPA_WGMMA_NAMES_56
#undef REPA_WGMMA_REGISTERS_56
#undef REPA_WGMMA_NAMES_64
#undef REPA_WGMMA_REGISTERS_64
#undef REPA_WGMMA_NAMES_72
#undef REPA_WGMMA_REGISTERS_72
#undef REPA_WGMMA_NAMES_80
#undef REPA_WGMMA_REGISTERS_80
#undef REPA_WGMMA_NAMES_88
#undef REPA_WGMMA_REGISTERS_88
#undef REPA_WGMMA_NAMES_96
#undef REPA_WGMMA_REGISTERS_96
#undef REPA_WGMMA_NAMES_104
#undef REPA_WGMMA_REGISTERS_104
#undef REPA_WGMMA_NAMES_112
#undef REPA_WGMMA_REGISTERS_112
#undef REPA_WGMMA_NAMES_120
#undef REPA_WGMMA_REGISTERS_120
#undef REPA_WGMMA_NAMES_128
#undef REPA_WGMMA_REGISTERS_128
#undef REPA_WGMMA_NAMES_136
#undef REPA_WGMMA_REGISTERS_136
#undef REPA_WGMMA_NAMES_144
#undef REPA_WGMMA_REGISTERS_144
#undef REPA_WGMMA_NAMES_152
#undef REPA_WGMMA_REGISTERS_152
#undef REPA_WGMMA_NAMES_160
#undef REPA_WGMMA_REGISTERS_160
#undef REPA_WGMMA_NAMES_168
#undef REPA_WGMMA_REGISTERS_168
#undef REPA_WGMMA_NAMES_176
#undef REPA_WGMMA_REGISTERS_176
#undef REPA_WGMMA_NAMES_184
#undef REPA_WGMMA_REGISTERS_184
#undef REPA_WGMMA_NAMES_192
#undef REPA_WGMMA_REGISTERS_192
#undef REPA_WGMMA_NAMES_200
#undef REPA_WGMMA_REGISTERS_200
#undef REPA_WGMMA_NAMES_208
#undef REPA_WGMMA_REGISTERS_208
#undef REPA_WGMMA_NAMES_216
#undef REPA_WGMMA_REGISTERS_216
#undef REPA_WGMMA_NAMES_224
#undef REPA_WGMMA_REGISTERS_224
#undef REPA_WGMMA_NAMES_232
#undef REPA_WGMMA_REGISTERS_232
#undef REPA_WGMMA_NAMES_240
#undef REPA_WGMMA_REGISTERS_240
#undef REPA_WGMMA_NAMES_248
#undef REPA_WGMMA_REGISTERS_248
#undef REPA_WGMMA_NAMES_256
#undef REPA_WGMMA_REGISTERS_256

}  // namespace detail

/// d += a b, or d = a b; both operands in shared memory. T is bf16 or f16.
template <class T, int columns, Major majorA = Major::k, Major majorB = Major::k>
__device__ __forceinline__ void wgmma(float (&d)[columns / 2], MatrixDescriptor a, MatrixDescriptor b, bool accumulate = true) {
  detail::Wgmma<T, columns, majorA, majorB>::fromShared(d, a.bits, b.bits, accumulate);
}

/// The same with A in registers: a[r] of lane 4 g + t of warp w is row 16 w + g + 8 (r & 1), columns 2 t + 8 (r >> 1) and the next.
template <class T, int columns, Major majorB = Major::k>
__device__ __forceinline__ void wgmma(float (&d)[columns / 2], const uint32_t (&a)[4], MatrixDescriptor b, bool accumulate = true) {
  detail::Wgmma<T, columns, Major::k, majorB>::fromRegisters(d, a, b.bits, accumulate);
}

}  // namespace repa::cuda
