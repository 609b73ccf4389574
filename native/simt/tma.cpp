#include "simt/tma.h"

#include "simt/device.h"

namespace repa::simt {

void landBulkCopy(const BulkCopy&) {}
void* driverFunction(const char*) { return nullptr; }

}  // namespace repa::simt
