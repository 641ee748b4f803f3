// One cyclic pass of exact row updates; padl_bayes/kernels/row_sweep.py is what it must agree with.
//
// Rows are taken in blocks. While a panel of samples is in cache its residual loses what the last block changed and is
// correlated with the next; what earlier rows of a block changed is taken off through the block's Gram matrix. A row is
// finished (clipped, its change noted) in the same pass over the samples that begins the next one.

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "parallel.h"
#include "row_sweep.h"
#include "vector_math.h"
#include "xla/ffi/api/ffi.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

constexpr int kBlock = 16;  // rows in a block
#if defined(__AVX512F__)
constexpr int kRows = 4, kVectors = 4;  // of a product that stays in registers
#elif defined(__AVX2__)
constexpr int kRows = 4, kVectors = 1;
#else
constexpr int kRows = 2, kVectors = 1;
#endif
constexpr int64_t kUnit = 1024;  // samples of a unit of work

template <typename T>
constexpr int64_t kGroup = kVectors * kLanes<T>;  // samples of a product
template <typename T>
constexpr int64_t kPanel = 8 * kLanes<T>;

// Sums over samples: of what soft-thresholding leaves, in all and above a guess of the clip level, and how many are
// above it; of the magnitudes of the row before; of the squared residual.
struct Sums {
  double total = 0, mass = 0, count = 0, size = 0, energy = 0;

  Sums& operator+=(const Sums& other) {
    total += other.total;
    mass += other.mass;
    count += other.count;
    size += other.size;
    energy += other.energy;
    return *this;
  }
};

// Vectors at the end of a row of samples: zero beyond it.
template <typename T>
PADL_INLINE Vec<T> load_some(const T* from, int64_t count) {
  if (count >= kLanes<T>) return load(from);
  T values[kLanes<T>] = {};
  for (int64_t j = 0; j < count; ++j) values[j] = from[j];
  return load(values);
}

template <typename T>
PADL_INLINE void store_some(T* to, Vec<T> v, int64_t count) {
  if (count >= kLanes<T>) return store(to, v);
  for (int64_t j = 0; j < count; ++j) to[j] = v[j];
}

template <typename T>
PADL_INLINE double sum_of(Vec<T> v) {
  double sum = 0;
  for (int j = 0; j < kLanes<T>; ++j) sum += v[j];
  return sum;
}

template <typename T>
PADL_INLINE Vec<T> with_sign_of(Vec<T> size, Vec<T> v) {
  return (Vec<T>)((Bits<T>)size | ((Bits<T>)v ^ (Bits<T>)magnitude<T>(v)));
}

template <typename T>
class Sweep {
 public:
  Sweep(const RowTask<T>& task, Team& team)
      : task_(task),
        team_(team),
        n_rows_(*task.n_rows),
        alpha1_(*task.alpha1),
        alpha2_(*task.alpha2),
        momentum_(*task.momentum),
        units_((task.samples + kUnit - 1) / kUnit),
        // Not a power of two, so that the rows of a panel are not all in one set of a cache.
        stride_(units_ * kUnit + 5 * kLanes<T>),
        rows_(kBlock * stride_),
        gram_(kBlock * kBlock),
        sums_(units_) {}

  // Returns alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf + 1/2 ||residual||^2.
  double run() {
    double objective = 0;
    for (int64_t k = 0; k < n_rows_; ++k) {
      if (k % kBlock == 0) find_gram(k);
      const Sums found = over_units([this, k](int64_t unit, Sums& sums) {
        if (k > 0) finish_row(k - 1, unit, sums);
        if (k % kBlock == 0) enter_block(k, unit, sums);
        begin_row(k, unit, sums);
      });
      objective += alpha1_ * found.size;
      const T level = task_.levels[k] = clip_level(k, found);
      if (!std::isinf(level)) objective += alpha2_ * level;
    }
    const Sums found = over_units([this](int64_t unit, Sums& sums) {
      if (n_rows_ > 0) finish_row(n_rows_ - 1, unit, sums);
      enter_block(n_rows_, unit, sums);
    });
    return objective + alpha1_ * found.size + 0.5 * found.energy;
  }

 private:
  // Work on every unit; the order in which its sums are added does not depend on the threads.
  template <typename Work>
  Sums over_units(const Work& work) {
    team_.run(units_, [this, &work](int64_t unit) {
      sums_[unit] = Sums{};
      work(unit, sums_[unit]);
    });
    Sums all;
    for (const Sums& sums : sums_) all += sums;
    return all;
  }

  T* row(int64_t k) { return rows_.data() + (k % kBlock) * stride_; }

  PADL_INLINE Vec<T> left_by_l1(Vec<T> v) const {
    const Vec<T> u = (task_.nonnegative ? v : magnitude<T>(v)) - alpha1_;
    return u < T(0) ? Vec<T>{} : u;
  }

  void find_gram(int64_t first) {
    const int64_t P = task_.features, count = std::min<int64_t>(kBlock, n_rows_ - first);
    for (int64_t j = 0; j < count; ++j)
      for (int64_t i = 0; i < j; ++i) {
        T sum = 0;
        for (int64_t p = 0; p < P; ++p) sum += task_.atoms[(first + j) * P + p] * task_.atoms[(first + i) * P + p];
        gram_[j * kBlock + i] = sum;
      }
  }

  // Correct the residual by the block before row ``k`` and correlate it with the block that begins there, if any.
  void enter_block(int64_t k, int64_t unit, Sums& sums) {
    std::vector<T> panel(task_.features * kPanel<T>);
    const int64_t end = std::min((unit + 1) * kUnit, task_.samples);
    const bool last = k == n_rows_;
    for (int64_t at = unit * kUnit; at < end; at += kPanel<T>) {
      if (end - at >= kPanel<T>)
        correct<true>(k, at, panel.data());
      else
        correct<false>(k, at, panel.data());
      if (last)
        sums.energy += energy_of(panel.data());
      else
        correlate(k, at, panel.data());
    }
  }

  template <bool full>
  void correct(int64_t k, int64_t at, T* panel) {
    int64_t p = 0;
    for (; p + kRows <= task_.features; p += kRows)
      for (int64_t i = 0; i < kPanel<T>; i += kGroup<T>) correct_some<full, kRows>(k, p, at, i, panel);
    for (; p < task_.features; ++p)
      for (int64_t i = 0; i < kPanel<T>; i += kGroup<T>) correct_some<full, 1>(k, p, at, i, panel);
  }

  // ``n`` features from ``p`` on, one group of samples.
  template <bool full, int n>
  PADL_INLINE void correct_some(int64_t k, int64_t p, int64_t at, int64_t in_panel, T* panel) {
    const int64_t N = task_.samples, P = task_.features;
    const int64_t before = std::max<int64_t>(0, (k - 1) / kBlock * kBlock), first = at + in_panel;
    Vec<T> r[n][kVectors];
    for (int a = 0; a < n; ++a)
      for (int v = 0; v < kVectors; ++v) {
        const int64_t s = first + v * kLanes<T>, count = full ? kLanes<T> : N - s;
        r[a][v] = load_some(task_.residual + (p + a) * N + s, count);
        if (k == 0 && task_.codes != nullptr) {
          T* previous = task_.previous + (p + a) * N + s;
          const Vec<T> older = load_some(previous, count);
          store_some(previous, r[a][v], count);
          r[a][v] += momentum_ * (r[a][v] - older);
        }
      }
    for (int64_t j = before; j < k; ++j) {
      const T *atom = task_.atoms + j * P + p, *change = row(j) + first;
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> c = load(change + v * kLanes<T>);
        for (int a = 0; a < n; ++a) r[a][v] -= atom[a] * c;
      }
    }
    for (int a = 0; a < n; ++a)
      for (int v = 0; v < kVectors; ++v) {
        const int64_t s = first + v * kLanes<T>;
        store_some(task_.residual + (p + a) * N + s, r[a][v], full ? kLanes<T> : N - s);
        store(panel + (p + a) * kPanel<T> + in_panel + v * kLanes<T>, r[a][v]);
      }
  }

  void correlate(int64_t k, int64_t at, const T* panel) {
    const int64_t end = std::min(k + kBlock, n_rows_);
    for (; k + kRows <= end; k += kRows)
      for (int64_t i = 0; i < kPanel<T>; i += kGroup<T>) correlate_some<kRows>(k, at, i, panel);
    for (; k < end; ++k)
      for (int64_t i = 0; i < kPanel<T>; i += kGroup<T>) correlate_some<1>(k, at, i, panel);
  }

  template <int n>
  PADL_INLINE void correlate_some(int64_t k, int64_t at, int64_t in_panel, const T* panel) {
    const T* atoms = task_.atoms + k * task_.features;
    Vec<T> sum[n][kVectors] = {};
    for (int64_t p = 0; p < task_.features; ++p)
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> r = load(panel + p * kPanel<T> + in_panel + v * kLanes<T>);
        for (int a = 0; a < n; ++a) sum[a][v] += atoms[a * task_.features + p] * r;
      }
    for (int a = 0; a < n; ++a)
      for (int v = 0; v < kVectors; ++v) store(row(k + a) + at + in_panel + v * kLanes<T>, sum[a][v]);
  }

  double energy_of(const T* panel) const {
    Vec<T> sum[4] = {};
    for (int64_t i = 0; i < task_.features * kPanel<T>; i += 4 * kLanes<T>)
      for (int j = 0; j < 4; ++j) {
        const Vec<T> r = load(panel + i + j * kLanes<T>);
        sum[j] += r * r;
      }
    return sum_of<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }

  // What the prox is to be applied to, and how much of it would be clipped at the level of the last sweep.
  void begin_row(int64_t k, int64_t unit, Sums& sums) {
    const int64_t N = task_.samples, j = k % kBlock, first = k - j;
    const T guess = std::max(task_.levels[k], T(0)), *gram = gram_.data() + j * kBlock;
    T* target = row(k);
    Vec<T> total{}, mass{};
    Bits<T> count{};
    for (int64_t s = unit * kUnit; s < (unit + 1) * kUnit && s < N; s += kLanes<T>) {
      Vec<T> v = load(target + s);
      if (task_.codes != nullptr) {
        T *codes = task_.codes + k * N + s, *older = task_.older + k * N + s;
        const Vec<T> old = load_some(codes, N - s), start = old + momentum_ * (old - load_some(older, N - s));
        store_some(older, old, N - s);
        store_some(codes, start, N - s);
        v += start;
      }
      for (int64_t i = 0; i < j; ++i) v -= gram[i] * load(row(first + i) + s);
      store(target + s, v);
      const Vec<T> u = left_by_l1(v);
      const auto above = u > guess;
      total += u;
      mass += above ? u : Vec<T>{};
      count -= above;
    }
    sums.total += sum_of<T>(total);
    sums.mass += sum_of<T>(mass);
    for (int i = 0; i < kLanes<T>; ++i) sums.count += static_cast<double>(count[i]);
  }

  // Clip row ``k`` and keep its change in place of the target.
  void finish_row(int64_t k, int64_t unit, Sums& sums) {
    const int64_t N = task_.samples;
    const T level = task_.levels[k];
    T* target = row(k);
    Vec<T> size{};
    for (int64_t s = unit * kUnit; s < (unit + 1) * kUnit && s < N; s += kLanes<T>) {
      const Vec<T> v = load(target + s), u = left_by_l1(v);
      const Vec<T> clipped = u < level ? u : all<T>(level);
      Vec<T> change = with_sign_of<T>(clipped, v);
      size += clipped;
      if (task_.codes != nullptr) {
        T* codes = task_.codes + k * N + s;
        const Vec<T> start = load_some(codes, N - s);
        store_some(codes, change, N - s);
        change -= start;
      }
      store(target + s, change);
    }
    sums.size += sum_of<T>(size);
  }

  // The level above which the row is clipped, by Newton's method from what ``found`` says of a guess.
  T clip_level(int64_t k, Sums found) {
    if (std::isnan(found.total)) return std::numeric_limits<T>::quiet_NaN();
    const double alpha2 = alpha2_;
    if (found.total <= alpha2) return 0;
    if (alpha2 == 0) return std::numeric_limits<T>::infinity();
    auto proposal = [alpha2](const Sums& at) { return (at.mass - alpha2) / std::max(at.count, 1.0); };
    T level = static_cast<T>(std::max(proposal(found), 0.0));
    // From the right of the root the first step may land anywhere on its left; the same set says it has landed.
    double count = found.count;
    found = above(k, level);
    bool settled = found.count == count;
    while (!settled) {
      level = std::max(level, static_cast<T>(proposal(found)));
      count = found.count;
      found = above(k, level);
      settled = found.count >= count;
    }
    return level;
  }

  Sums above(int64_t k, T level) {
    return over_units([this, k, level](int64_t unit, Sums& sums) {
      const T* target = row(k);
      Vec<T> mass{};
      Bits<T> count{};
      for (int64_t s = unit * kUnit; s < (unit + 1) * kUnit && s < task_.samples; s += kLanes<T>) {
        const Vec<T> u = left_by_l1(load(target + s));
        const auto above = u > level;
        mass += above ? u : Vec<T>{};
        count -= above;
      }
      sums.mass = sum_of<T>(mass);
      for (int i = 0; i < kLanes<T>; ++i) sums.count += static_cast<double>(count[i]);
    });
  }

  const RowTask<T>& task_;
  Team& team_;
  const int64_t n_rows_;
  const T alpha1_, alpha2_, momentum_;
  const int64_t units_, stride_;
  std::vector<T> rows_;  // of a block: correlations, then what the prox is applied to, then changes
  std::vector<T> gram_;
  std::vector<Sums> sums_;
};

template <ffi::DataType type, typename T>
ffi::Error row_sweep(ffi::ThreadPool pool, bool nonnegative, RowBuffers<type> buffers) {
  auto copy = [](T* to, const T* from, int64_t count) { std::copy(from, from + count, to); };
  const auto task = row_task<T>(nonnegative, buffers, copy);
  if (!task) return task.error();
  if (*task->n_rows < 0 || *task->n_rows > task->rows)
    return ffi::Error::InvalidArgument("row_sweep: n_rows must be between 0 and the number of rows");
  Team team(pool, (task->samples + kUnit - 1) / kUnit);
  *task->objective = static_cast<T>(Sweep<T>(*task, team).run());
  return ffi::Error::Success();
}

template <ffi::DataType type, typename T>
auto implementation() {
  return [](ffi::ThreadPool pool, bool nonnegative, auto... buffers) {
    return row_sweep<type, T>(pool, nonnegative, {buffers...});
  };
}

template <ffi::DataType type>
auto binding() {
  return with_row_buffers<type>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>());
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_row_sweep_f32, (implementation<ffi::F32, float>()), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_row_sweep_f64, (implementation<ffi::F64, double>()), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
