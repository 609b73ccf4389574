// Threads, where the system may give none: containers and users have limits of them.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "core/error.h"

namespace repa {

/// That there is no thread, and `what` wants one.
Error noMoreThreads(const std::string& what);

/// @throws Error where the system gives no thread to what is named `what`
std::thread startThread(const char* what, std::function<void()> body);

}  // namespace repa
