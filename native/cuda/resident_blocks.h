// How many blocks a kernel has of which one fills a multiprocessor and goes from tile to tile.
#pragma once

namespace repa::cuda {

/// At most so many, on the current GPU: one for each multiprocessor. Where processes exchange beside the queue (side_stream.h), NCCL's blocks hold
/// some of these for as long as that takes. A block that found none free would begin when another has made all its tiles, and the kernel take twice
/// its time, however few they are. So it is four for each, which make a quarter of the tiles and take turns as multiprocessors come free. A
/// tile has the same bits whichever block makes it.
int residentBlocks();

}  // namespace repa::cuda
