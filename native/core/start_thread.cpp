#include "core/start_thread.h"

#include <system_error>
#include <utility>

namespace repa {

Error noMoreThreads(const std::string& what) {
  return Error(ErrorCode::device, "The system gives this process no more threads: " + what +
                                      ". What limits them is ulimit -u, ulimit -v or a container's pids.max.");
}

std::thread startThread(const char* what, std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error&) {
    throw noMoreThreads(std::string(what) + " needs one");
  }
}

}  // namespace repa
