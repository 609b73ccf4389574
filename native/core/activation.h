// Which activation function follows a product or stands by itself.
#pragma once

namespace repa {

enum class Activation { none, silu, geluTanh, geluErf, quickGelu };

}  // namespace repa
