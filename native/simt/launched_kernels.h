// Which kernels have run, of those that there are: how a test knows that it has left none out.
#pragma once

namespace repa::simt {

/// Where REPA_SIMT_KERNELS names a file, adds lines to it: "has NAME" for every kernel of the module once its first one runs, and
/// "ran NAME" when this one runs for the first time, in a dry run every time. The caller holds the mutex of launches.
void noteKernel(const void* kernel);

}  // namespace repa::simt
