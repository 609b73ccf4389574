// The memory of a process whose /proc and /sys stand in the folder that is given.
#include "core/process_memory.h"

#include <iostream>

int main(int, char** arguments) { std::cout << repa::memoryOfProcess(arguments[1]) << "\n"; }
