// A step without its computing: what it allocates and enqueues, of models that the shim could not run in a day.
#pragma once

namespace repa::simt {

/// Whether the device computes nothing, as REPA_SIMT_DRY_RUN asks where it is set: calls are checked as ever, then launches, fills and copies
/// are dropped, and what is read back is zeros. Memory that nothing writes takes none of the machine's, so that the device may have more of it
/// than the machine (REPA_SIMT_MEMORY).
bool isDryRun();

}  // namespace repa::simt
