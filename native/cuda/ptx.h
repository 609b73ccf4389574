// Every special instruction of the project, once. Each wrapper has two bodies: inline PTX for the chip, and under REPA_SIMT an emulation
// that follows the manual's definition (native/simt/ptx_emulation.h has the same signatures). Numbers in comments are sections of the PTX
// ISA, version 8.7.
//
// ptx_ampere.h is for every chip from sm_80 on; ptx_hopper.h and ptx_wgmma.h need sm_90a and are empty functions in other device code,
// so that a file of kernels for both compiles once for each.
#pragma once

#include "cuda/float16.h"

#if defined(REPA_SIMT)
#include "simt/ptx_emulation.h"
#else
#include "cuda/ptx_ampere.h"
#include "cuda/ptx_hopper.h"
#include "cuda/ptx_wgmma.h"
#endif
