// Checks of what XLA hands to a handler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

namespace padl {

template <typename Buffer>
bool has_shape(const Buffer& buffer, std::initializer_list<int64_t> wanted) {
  const auto found = buffer.dimensions();
  return found.size() == wanted.size() && std::equal(found.begin(), found.end(), wanted.begin());
}

}  // namespace padl
