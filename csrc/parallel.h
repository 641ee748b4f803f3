// A team of XLA's own threads that goes through units of work. The caller takes part and takes whatever nobody else
// has: no thread ever waits for one that has not started.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace padl {

class Team {
 public:
  // At most ``most`` threads, with the caller.
  Team(xla::ffi::ThreadPool& pool, int64_t most) : shared_(std::make_shared<Shared>()) {
    const int64_t helpers = std::min(pool.num_threads(), most) - 1;
    for (int64_t i = 0; i < helpers; ++i) {
      auto help = [shared = shared_] { shared->help(); };
      pool.Schedule(decltype(help)(help));
    }
  }
  ~Team() { shared_->next.store(kStop, std::memory_order_release); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // unit(i) for all i in [0, units), in any order and by any thread.
  template <typename Unit>
  void run(int64_t units, const Unit& unit) {
    for (int64_t first = 0; first < units; first += kMost)
      round(std::min(kMost, units - first), [&unit, first](int64_t i) { unit(first + i); });
  }

 private:
  // A word holds the number of the round (24 bits), how many units it has and the next one (20 bits each): who claims
  // a unit knows that the round it read about is still the one under way.
  static constexpr int kBits = 20;
  static constexpr int64_t kMost = (1 << kBits) - 1;
  static constexpr uint64_t kStop = ~uint64_t{0};

  struct Shared {
    std::atomic<uint64_t> next{0};
    std::atomic<int64_t> done{0};
    void (*call)(const void*, int64_t) = nullptr;
    const void* unit = nullptr;

    // Takes a unit if there is one left.
    bool take() {
      uint64_t word = next.load(std::memory_order_acquire);
      const uint64_t mine = word & kMost;
      if (word == kStop || mine >= ((word >> kBits) & kMost)) return false;
      if (next.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel)) {
        call(unit, static_cast<int64_t>(mine));
        done.fetch_add(1, std::memory_order_release);
      }
      return true;
    }

    void help() {
      for (int idle = 0; next.load(std::memory_order_acquire) != kStop;) {
        idle = take() ? 0 : idle + 1;
        rest(idle);
      }
    }
  };

  // Phases of some microseconds follow each other: only who has waited for long gives up its processor.
  static void rest(int idle) {
    if (idle == 0) return;
    if (idle % 256 == 0) {
      std::this_thread::yield();
    } else {
      __builtin_ia32_pause();
    }
  }

  template <typename Unit>
  void round(int64_t units, const Unit& unit) {
    shared_->call = [](const void* unit, int64_t i) { (*static_cast<const Unit*>(unit))(i); };
    shared_->unit = &unit;
    shared_->done.store(0, std::memory_order_relaxed);
    number_ = (number_ + 1) & 0x7fffff;
    shared_->next.store(number_ << (2 * kBits) | static_cast<uint64_t>(units) << kBits, std::memory_order_release);
    while (shared_->take()) {
    }
    for (int idle = 1; shared_->done.load(std::memory_order_acquire) < units; ++idle) rest(idle);
  }

  std::shared_ptr<Shared> shared_;
  uint64_t number_ = 0;
};

}  // namespace padl
