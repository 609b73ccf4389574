// The memory that a kernel's code takes: a driver loads it when the kernel is first wanted, not when the program starts.
#pragma once

namespace repa::simt {

/// Takes as many bytes of the device's memory for a kernel's code as REPA_SIMT_CODE says, where it is set, the first time that it is asked;
/// false where there are not so many.
bool loadCode(const void* kernel);

}  // namespace repa::simt
