#include "core/error.h"

#include <cstdarg>
#include <cstdio>

namespace repa {

void throwError(ErrorCode code, const char* format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  std::string sentence(static_cast<size_t>(std::vsnprintf(nullptr, 0, format, arguments)), '\0');
  va_end(arguments);
  std::vsnprintf(sentence.data(), sentence.size() + 1, format, again);
  va_end(again);
  throw Error(code, std::move(sentence));
}

}  // namespace repa
