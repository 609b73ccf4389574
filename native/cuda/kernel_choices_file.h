// The file of choices (measured_choice.h): a line for each, "KEY = CHOICE", the first line of a key being the one that counts.
#pragma once

#include <optional>
#include <string>

namespace repa::cuda {

/// Its path: what REPA_KERNEL_CHOICES names, else repa-native/kernel-choices.txt in $XDG_CACHE_HOME or ~/.cache.
std::string kernelChoicesPath();

/// What the file holds for a key; nothing where it, or the file, is not there.
std::optional<std::string> readKernelChoice(const std::string& path, const std::string& key);

/// Appends a choice, making the file and its folders, and returns what counts from now on: this one, or that of a process which
/// was sooner. Throws where the file cannot be written, in the name of the setting that `asked` for the choice.
std::string keepKernelChoice(const std::string& asked, const std::string& path, const std::string& key, const std::string& choice);

}  // namespace repa::cuda
