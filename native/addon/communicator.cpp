// Several processes: joining and parting take a while and have a thread of their own; the rest enqueues.
#include "ops/communicator.h"

#include <exception>
#include <future>
#include <memory>
#include <thread>

#include "addon/bind.h"
#include "addon/families.h"
#include "addon/promise.h"
#include "core/start_thread.h"

namespace repa::addon {

namespace {

const Export kExports[] = {
    {"communicatorId",
     [](const Arguments& a) -> Napi::Value {
       return Napi::String::New(a.env(), ops::communicatorId(a.device(0, "device"), a.integer(1, "size")));
     }},
    {"openCommunicator",
     [](const Arguments& a) -> Napi::Value {
       Device& device = a.device(0, "device");
       const std::string id = a.text(1, "id");
       const int64_t rank = a.integer(2, "rank"), size = a.integer(3, "size");
       auto number = std::make_shared<std::promise<int64_t>>();
       return promise(
           a.env(), "openCommunicator",
           [&](auto done) {
             // It ends with the process where the others never come.
             startThread("joining the other processes", [&device, id, rank, size, number, done = std::move(done)] {
               try {
                 number->set_value(ops::openCommunicator(device, id, rank, size));
               } catch (...) {
                 number->set_exception(std::current_exception());
               }
               done("");
             }).detach();
           },
           [number](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(number->get_future().get())); });
     }},
    {"allReduceSum", bind<ops::allReduceSum>, {"communicator", "tensors"}},
    {"allGather", bind<ops::allGather>, {"communicator", "tensor", "share"}},
    {"broadcast", bind<ops::broadcast>, {"communicator", "tensor", "root"}},
    {"beginReduceSum", bind<ops::beginReduceSum>, {"communicator", "tensor", "share", "ranges"}},
    {"beginAllGather", bind<ops::beginAllGather>, {"communicator", "tensor", "share"}},
    {"awaitBegun", bind<ops::awaitBegun>, {"communicator"}},
    {"abortCommunicator", bind<ops::abortCommunicator>, {"communicator", "reason"}},
    {"closeCommunicator",
     [](const Arguments& a) -> Napi::Value {
       auto closed = ops::takeCommunicator(a.integer(0, "communicator"));
       return promise(
           a.env(), "closeCommunicator",
           [&](auto done) {
             // NCCL waits for graphs that hold its calls, which the thread that would wait here may have to destroy.
             startThread("parting from the other processes", [closed = std::move(closed), done = std::move(done)]() mutable {
               closed.reset();
               done("");
             }).detach();
           },
           [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
     }},
};

}  // namespace

void addCommunicatorExports(Napi::Env env, Napi::Object exports) { addExports(env, exports, kExports); }

}  // namespace repa::addon
