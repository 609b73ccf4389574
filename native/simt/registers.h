// setmaxnreg (PTX ISA 9.7.19.5): warps give registers back to their block's pool or take more from it, warpgroup by warpgroup.
#pragma once

#include "simt/place.h"

namespace repa::simt {

struct Block;

constexpr int maxWarpgroups = 8;

/// A block's registers. What a thread has at launch the shim does not know: it takes the most that a kernel for blocks of this size can
/// have, which is what ptxas gives one that has setmaxnreg (test/native/ptxas.test.ts).
struct RegisterPool {
  int free = 0;  // of a thread of each warp: 32 times as many in all
  /// By warp: what each of its threads has, and how many setmaxnreg it has executed.
  int ofThread[4 * maxWarpgroups] = {};
  unsigned changes[4 * maxWarpgroups] = {};
};

void prepareRegisters(Block& block);

/// setmaxnreg.inc or .dec. An increase waits until the pool has as many.
void setRegisters(int registers, bool increase, const Place& place);

/// "" or what warps of a block that has ended have left out.
const char* incompleteRegisterChange(const Block& block);

}  // namespace repa::simt
