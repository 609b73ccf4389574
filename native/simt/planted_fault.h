// A kernel that reads where it may not, as a chip sees it.
#pragma once

namespace repa::simt {

/// Whether a kernel is to end with an illegal address instead of running: one whose name contains what REPA_SIMT_FAULT says, where it is set.
/// The error comes as a GPU's does: late, sticky, and without a word of who did it.
bool isFaulty(const void* kernel);

}  // namespace repa::simt
