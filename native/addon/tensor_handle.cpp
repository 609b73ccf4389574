#include "addon/tensor_handle.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace repa::addon {

namespace {

/// A handle's number is the index of its place, and above that how many tensors the place has held: together no wider than an address, which
/// is what an External has room for.
constexpr int kIndexBits = 24, kUseBits = 24;
static_assert(kIndexBits + kUseBits < 8 * sizeof(void*));
constexpr uint64_t kMostPlaces = uint64_t{1} << kIndexBits, kMostUses = (uint64_t{1} << kUseBits) - 1;

uint64_t indexOf(uint64_t number) { return number % kMostPlaces; }
uint64_t usesOf(uint64_t number) { return number / kMostPlaces; }

/// Where the table keeps a tensor.
struct Place {
  /// Undefined: there is none.
  Tensor tensor;
  int64_t weight = 0;  // bytes
  /// Of the handle whose tensor it holds, or held last.
  uint64_t number;
  /// What tells of the External's end while there is a tensor.
  napi_ref watch = nullptr;
  /// The next place without a tensor.
  Place* next = nullptr;

  bool holds(uint64_t handle) const { return number == handle && tensor.defined(); }
};

/// The tensors of a thread's JS environment.
class Table {
 public:
  /// A place without a tensor: the next that `take` is to be called with.
  Place& vacant() {
    if (vacant_) return *vacant_;
    if (places_.size() == kMostPlaces)
      throw Error(ErrorCode::outOfMemory, std::to_string(kMostPlaces) + " tensors are alive, and there is no place for another; dispose some.");
    places_.push_back(std::make_unique<Place>(Place{.tensor = {}, .number = places_.size()}));
    return *(vacant_ = places_.back().get());
  }

  void take(Napi::Env env, Place& place, uint64_t number, Tensor tensor) {
    vacant_ = place.next;
    place.number = number;
    // Views weigh what they show; the collector's estimate need not be exact, only large where memory is large.
    place.weight = tensor.bytes();
    place.tensor = std::move(tensor);
    liveBytes_ += place.weight;
    if (liveBytes_ <= reportedBytes_) return;
    Napi::MemoryManagement::AdjustExternalMemory(env, liveBytes_ - reportedBytes_);
    reportedBytes_ = liveBytes_;
  }

  /// The place that a handle names, whether or not it still holds its tensor; null where it names none.
  Place* find(uint64_t number) {
    if (indexOf(number) >= places_.size()) return nullptr;
    Place* place = places_[indexOf(number)].get();
    return usesOf(number) > 0 && usesOf(number) <= usesOf(place->number) ? place : nullptr;
  }

  void vacate(napi_env env, Place& place) {
    // From here on nobody need tell of the External's end, and where somebody does, its number holds no tensor.
    napi_delete_reference(env, place.watch);
    place.tensor = Tensor();
    liveBytes_ -= place.weight;
    // A place whose uses can be counted no further is left: its next number would be its first again.
    if (usesOf(place.number) == kMostUses) return;
    place.next = vacant_;
    vacant_ = &place;
  }

  /// What the collector itself found no longer counts, so that as much garbage makes it run again.
  void vacateCollected(napi_env env, Place& place) {
    Napi::MemoryManagement::AdjustExternalMemory(env, -place.weight);
    reportedBytes_ -= place.weight;
    vacate(env, place);
  }

 private:
  std::vector<std::unique_ptr<Place>> places_;
  Place* vacant_ = nullptr;
  /// Bytes of the tensors: alive, and as the garbage collector knows them. It is told of them for the sake of those that nobody disposes. A
  /// report of growth may make it run, for milliseconds, and a training step takes and disposes hundreds of gigabytes: reported one by one
  /// they cost the host more than all the rest of the step. So the collector knows the most that was ever alive, which a step that repeats
  /// itself does not pass.
  int64_t liveBytes_ = 0;
  int64_t reportedBytes_ = 0;
};

Table& tableOfThread() {
  thread_local Table table;
  return table;
}

uint64_t numberIn(const void* value) { return reinterpret_cast<uintptr_t>(value); }

/// Called when nobody can reach a handle any more.
void onCollected(napi_env env, void* value, void*) {
  Table& table = tableOfThread();
  Place* place = table.find(numberIn(value));
  if (place && place->holds(numberIn(value))) table.vacateCollected(env, *place);
}

struct Handle {
  uint64_t number;
  Place* place;
};

Handle find(Napi::Value value, const char* operation, const char* argument) {
  void* number = nullptr;
  Place* place = nullptr;
  if (napi_get_value_external(value.Env(), value, &number) == napi_ok) place = tableOfThread().find(numberIn(number));
  if (!place) throw Error(ErrorCode::invalidArgument, std::string(operation) + ": " + argument + " is not a tensor.");
  return {numberIn(number), place};
}

}  // namespace

Napi::Value tensorHandle(Napi::Env env, Tensor tensor) {
  Table& table = tableOfThread();
  Place& place = table.vacant();
  const uint64_t number = place.number + kMostPlaces;
  void* const value = reinterpret_cast<void*>(static_cast<uintptr_t>(number));
  napi_value external = nullptr;
  NAPI_THROW_IF_FAILED(env, napi_create_external(env, value, nullptr, nullptr, &external));
  NAPI_THROW_IF_FAILED(env, napi_add_finalizer(env, external, value, onCollected, nullptr, &place.watch));
  table.take(env, place, number, std::move(tensor));
  return Napi::Value(env, external);
}

const Tensor& tensorOf(Napi::Value handle, const char* operation, const char* argument) {
  const auto [number, place] = find(handle, operation, argument);
  if (!place->holds(number))
    throw Error(ErrorCode::disposed, std::string(operation) + ": " + argument + " was disposed; use a tensor only before its dispose() or the end of its scope.");
  return place->tensor;
}

void disposeTensor(Napi::Value handle, const char* operation) {
  const auto [number, place] = find(handle, operation, "tensor");
  if (place->holds(number)) tableOfThread().vacate(handle.Env(), *place);
}

}  // namespace repa::addon
