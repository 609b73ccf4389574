#include "simt/architecture.h"

#include <cstdlib>

namespace repa::simt {

namespace {

constexpr size_t KiB = 1024;

constexpr Architecture architectures[] = {
    {75, 64 * KiB, 64 * KiB, 1024, 16},     {80, 164 * KiB, 163 * KiB, 2048, 32},  {86, 100 * KiB, 99 * KiB, 1536, 16},
    {87, 164 * KiB, 163 * KiB, 1536, 16},   {89, 100 * KiB, 99 * KiB, 1536, 24},   {90, 228 * KiB, 227 * KiB, 2048, 32},
    {100, 228 * KiB, 227 * KiB, 2048, 32},  {103, 228 * KiB, 227 * KiB, 2048, 32}, {110, 228 * KiB, 227 * KiB, 1536, 24},
    {120, 100 * KiB, 99 * KiB, 1536, 24},   {121, 100 * KiB, 99 * KiB, 1536, 24},
};
constexpr const char* whereUnset = "90";

std::string asked() {
  const char* const text = std::getenv("REPA_SIMT_ARCH");
  return text && *text ? text : whereUnset;
}

}  // namespace

const Architecture* architecture() {
  const std::string name = asked();
  for (const Architecture& each : architectures)
    if (std::to_string(each.name) == name) return &each;
  return nullptr;
}

std::string unknownArchitecture() {
  std::string names;
  for (const Architecture& each : architectures) names += (names.empty() ? "" : ", ") + std::to_string(each.name);
  return "REPA_SIMT_ARCH is \"" + asked() + "\"; expected " + names + ", or leave it unset.";
}

}  // namespace repa::simt
