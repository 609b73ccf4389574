// Functions that a CPU and a GPU both run, so that they come to the same bits.
#pragma once

#if defined(__CUDACC__)
#define REPA_HOST_DEVICE __host__ __device__
#else
#define REPA_HOST_DEVICE
#endif
