// Independent units of work on XLA's own threads; the caller takes part, so that no thread ever waits for one that has
// not started.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace padl {

template <typename Unit>
void for_each_unit(xla::ffi::ThreadPool& pool, int64_t units, Unit unit) {
  struct Shared {
    explicit Shared(Unit unit) : unit(std::move(unit)) {}
    Unit unit;
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>(std::move(unit));
  auto work = [shared, units] {
    int64_t mine = 0;
    for (int64_t i; (i = shared->next.fetch_add(1)) < units; ++mine) shared->unit(i);
    if (mine == 0) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->done += mine;
    if (shared->done == units) shared->all_done.notify_all();
  };
  const int64_t helpers = std::min(pool.num_threads(), units) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == units; });
}

}  // namespace padl
