#include "cpu/patch.h"

#include "cpu/chunks.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Calls move(pixel, element) for every pixel of the batch: its offset in the image [batch, channels, height, width]
/// and in the patches [batch, tokens, channels * patch * patch], in the order of the pixels, with
/// element(channel, py, px) the place inside a patch. Parallel over rows of patches.
template <class Args, class Element, class Move>
void forEachPixel(ThreadPool& pool, const Args& args, Element element, Move move) {
  const int64_t patchSize = args.channels * args.patch * args.patch;
  const int64_t patchesAcross = args.width / args.patch;
  const int64_t patchesDown = args.height / args.patch;
  const int64_t rows = args.batch * patchesDown;
  const int64_t parts = rowParts(rows, patchesAcross * patchSize, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const int64_t sample = row / patchesDown;
      const int64_t top = row % patchesDown * args.patch;
      for (int64_t channel = 0; channel < args.channels; ++channel) {
        for (int64_t py = 0; py < args.patch; ++py) {
          int64_t pixel = ((sample * args.channels + channel) * args.height + top + py) * args.width;
          for (int64_t across = 0; across < patchesAcross; ++across) {
            const int64_t first = (row * patchesAcross + across) * patchSize;
            for (int64_t px = 0; px < args.patch; ++px) move(pixel++, first + element(channel, py, px));
          }
        }
      }
    }
  });
}

/// (channel, py, px).
template <class Args>
auto channelFirst(const Args& args) {
  return [patch = args.patch](int64_t channel, int64_t py, int64_t px) { return (channel * patch + py) * patch + px; };
}

/// (py, px, channel).
template <class Args>
auto channelLast(const Args& args) {
  return [patch = args.patch, channels = args.channels](int64_t channel, int64_t py, int64_t px) {
    return (py * patch + px) * channels + channel;
  };
}

void patchify(ThreadPool& pool, const ImageToPatchesArgs& args) {
  forEachPixel(pool, args, channelFirst(args),
               [&args](int64_t pixel, int64_t element) { args.patches[element] = args.image[pixel]; });
}

void patchifyBackward(ThreadPool& pool, const PatchesToImageArgs& args) {
  forEachPixel(pool, args, channelFirst(args),
               [&args](int64_t pixel, int64_t element) { args.image[pixel] = args.patches[element]; });
}

void unpatchify(ThreadPool& pool, const PatchesToImageArgs& args) {
  forEachPixel(pool, args, channelLast(args),
               [&args](int64_t pixel, int64_t element) { args.image[pixel] = args.patches[element]; });
}

void unpatchifyBackward(ThreadPool& pool, const ImageToPatchesArgs& args) {
  forEachPixel(pool, args, channelLast(args),
               [&args](int64_t pixel, int64_t element) { args.patches[element] = args.image[pixel]; });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const PatchKernels& patchKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr PatchKernels table = {level::patchify, level::patchifyBackward, level::unpatchify,
                                         level::unpatchifyBackward};
  return table;
}

}  // namespace repa::cpu
