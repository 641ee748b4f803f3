// One pass over tiles of samples, atom after atom, whatever the rule by which a code is updated.
//
// A block of samples goes through all atoms with its residual in cache. One pass over the residual takes out what the
// last two atoms changed and finds the correlations with the next two; the second of these is corrected by the product
// of the two atoms. Atoms that are switched off, and were before, cost nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "buffers.h"
#include "parallel.h"
#include "vector_math.h"

namespace padl {

// As many correlations at once as registers allow; blocks of samples are twice as wide, so that few lanes of what is
// done for some of their samples only stay empty.
#ifdef __AVX512F__
constexpr int kAtOnce = 4;
#else
constexpr int kAtOnce = 2;
#endif
constexpr int kVectors = 2 * kAtOnce;
constexpr int kUnit = 128;  // samples in a unit of work

template <typename T>
constexpr int kBlock = kVectors * kLanes<T>;

// Arrays as in padl_bayes/kernels/code_sweep.py; without ``valid`` or ``active`` all are.
template <typename T>
struct Pass {
  int64_t tiles, features, atoms, samples;
  const T *residual, *codes, *valid, *observed, *dictionary, *active;
  const int32_t* excluded;
  T *new_residual, *new_codes;
};

// Fill ``pass`` with what a handler was given; a message where sizes do not fit, else null.
template <typename Numbers, typename Out, typename T>
const char* pass_of(const Numbers& residual, const Numbers& codes, const Numbers& dictionary, const Numbers& observed,
                    Out& new_residual, Out& new_codes, Pass<T>* pass) {
  const auto shape = residual.dimensions();
  if (shape.size() != 3) return "residual must have 3 dimensions";
  const int64_t tiles = shape[0], P = shape[1], n = shape[2];
  if (dictionary.dimensions().size() != 2) return "dictionary must have 2 dimensions";
  const int64_t K = dictionary.dimensions()[0];
  if (!has_shape(dictionary, {K, P})) return "dictionary must be (atoms, features)";
  if (!has_shape(codes, {tiles, K, n})) return "codes must be (tiles, atoms, samples)";
  const bool masked = observed.element_count() > 0;
  if (masked && !has_shape(observed, {tiles, P, n})) return "observed must be (tiles, features, samples)";
  if (!has_shape(new_residual, {tiles, P, n})) return "the new residual must be (tiles, features, samples)";
  if (!has_shape(new_codes, {tiles, K, n})) return "the new codes must be (tiles, atoms, samples)";
  *pass = {tiles, P, K, n, residual.typed_data(), codes.typed_data(), nullptr, masked ? observed.typed_data() : nullptr,
           dictionary.typed_data(), nullptr, nullptr, new_residual.typed_data(), new_codes.typed_data()};
  return nullptr;
}

template <typename Numbers, typename Integers, typename T>
const char* restrict_pass(const Numbers& valid, const Numbers& active, const Integers& excluded, Pass<T>* pass) {
  if (!has_shape(valid, {pass->tiles, pass->samples})) return "valid must be (tiles, samples)";
  if (!has_shape(active, {pass->atoms})) return "active must be (atoms,)";
  const bool excludes = excluded.element_count() > 0;
  if (excludes && !has_shape(excluded, {pass->tiles, pass->samples})) return "excluded must be (tiles, samples)";
  pass->valid = valid.typed_data();
  pass->active = active.typed_data();
  pass->excluded = excludes ? excluded.typed_data() : nullptr;
  return nullptr;
}

// A row of a block: one number for each of its samples.
template <typename T>
struct Row {
  Vec<T> v[kVectors];
  PADL_INLINE Vec<T>& operator[](int i) { return v[i]; }
  PADL_INLINE const Vec<T>& operator[](int i) const { return v[i]; }
};

template <typename T>
PADL_INLINE Row<T> ones() {
  Row<T> row;
  for (int i = 0; i < kVectors; ++i) row[i] = all<T>(1);
  return row;
}

// Where a block is in the arrays, and how many of its samples are there.
struct Place {
  int64_t tile, first, count, at_features, at_atoms, at;
};

// ``size`` zeros at the start of a cache line: no vector then lies across two.
template <typename T>
class Aligned {
 public:
  explicit Aligned(int64_t size) : all_(size + kLanes<T>) {
    const auto address = reinterpret_cast<uintptr_t>(all_.data());
    start_ = all_.data() + (kBytes - address % kBytes) % kBytes / sizeof(T);
  }
  T* data() { return start_; }

 private:
  std::vector<T> all_;
  T* start_;
};

template <typename T>
void gather(const T* from, int64_t stride, int64_t rows, int64_t count, T* to) {
  for (int64_t p = 0; p < rows; ++p, from += stride, to += kBlock<T>) {
    std::copy(from, from + count, to);
    std::fill(to + count, to + kBlock<T>, T(0));
  }
}

template <typename T>
void scatter(const T* from, int64_t stride, int64_t rows, int64_t count, T* to) {
  for (int64_t p = 0; p < rows; ++p, from += kBlock<T>, to += stride) std::copy(from, from + count, to);
}

// A row of ``count`` samples, zero beyond them.
template <typename T>
PADL_INLINE Row<T> get(const T* from, int64_t count) {
  T values[kBlock<T>] = {};
  if (count < kBlock<T>) {
    std::copy(from, from + count, values);
    from = values;
  }
  Row<T> row;
  for (int i = 0; i < kVectors; ++i) row[i] = load(from + i * kLanes<T>);
  return row;
}

template <typename T>
PADL_INLINE void put(T* to, const Row<T>& row, int64_t count) {
  if (to == nullptr) return;
  if (count == kBlock<T>) {
    for (int i = 0; i < kVectors; ++i) store(to + i * kLanes<T>, row[i]);
    return;
  }
  T values[kBlock<T>];
  for (int i = 0; i < kVectors; ++i) store(values + i * kLanes<T>, row[i]);
  std::copy(values, values + count, to);
}

// In double precision, lanes added where there are more.
PADL_INLINE Vec<double> widened(Vec<double> v) { return v; }

PADL_INLINE Vec<double> widened(Vec<float> v) {
  typedef float Half __attribute__((vector_size(kBytes / 2)));
  Half halves[2];
  std::memcpy(halves, &v, kBytes);
#if defined(__AVX512F__)
  // GCC 12 converts a register in two parts; without the mask its headers have warnings.
  return (Vec<double>)(_mm512_maskz_cvtps_pd(255, (__m256)halves[0]) + _mm512_maskz_cvtps_pd(255, (__m256)halves[1]));
#else
  return __builtin_convertvector(halves[0], Vec<double>) + __builtin_convertvector(halves[1], Vec<double>);
#endif
}

inline double total_of(Vec<double> lanes) {
  double sum = 0;
  for (int j = 0; j < kLanes<double>; ++j) sum += lanes[j];
  return sum;
}

template <typename T>
T product_of(int64_t size, const T* a, const T* b) {
  T sum[kLanes<T>] = {};
  int64_t p = 0;
  for (; p + kLanes<T> <= size; p += kLanes<T>)
    for (int j = 0; j < kLanes<T>; ++j) sum[j] += a[p + j] * b[p + j];
  for (int j = 1; j < kLanes<T>; ++j) sum[0] += sum[j];
  for (; p < size; ++p) sum[0] += a[p] * b[p];
  return sum[0];
}

// An atom and what its codes last changed by.
template <typename T>
struct Step {
  const T* atom;
  Row<T> change;
};

// Takes the changes of ``before`` out of the residual and finds its products with the atoms a and b.
template <typename T>
PADL_INLINE void correct_and_correlate(int64_t features, const Step<T> (&before)[2], const T* a, const T* b, T* residual,
                                       Row<T>* row_a, Row<T>* row_b) {
  const T *first = before[0].atom, *second = before[1].atom;
  for (int start = 0; start < kVectors; start += kAtOnce) {
    Vec<T> sum_a[kAtOnce] = {}, sum_b[kAtOnce] = {};
    const Vec<T> *change = &before[0].change[start], *other = &before[1].change[start];
    for (int64_t p = 0; p < features; ++p) {
      const T take = first[p], also = second[p], with_a = a[p], with_b = b[p];
      for (int i = 0; i < kAtOnce; ++i) {
        T* at = residual + p * kBlock<T> + (start + i) * kLanes<T>;
        Vec<T> r = load(at);
        r -= take * change[i];
        r -= also * other[i];
        sum_a[i] += with_a * r;
        sum_b[i] += with_b * r;
        store(at, r);
      }
    }
    for (int i = 0; i < kAtOnce; ++i) {
      (*row_a)[start + i] = sum_a[i];
      (*row_b)[start + i] = sum_b[i];
    }
  }
}

// The same for one atom where entries are missing; ``weight`` is the energy of the atom that is seen.
template <typename T>
PADL_INLINE void correct_and_correlate_seen(int64_t features, const Step<T>& before, const T* atom, T* residual,
                                            const T* observed, Row<T>* row, Row<T>* weight) {
  Row<T> sum{}, seen{};
  for (int64_t p = 0; p < features; ++p) {
    const T take = before.atom[p], with = atom[p];
    for (int i = 0; i < kVectors; ++i) {
      const int64_t at = p * kBlock<T> + i * kLanes<T>;
      const Vec<T> o = load(observed + at), r = load(residual + at) - o * (take * before.change[i]);
      seen[i] += (with * with) * o;
      sum[i] += with * r;
      store(residual + at, r);
    }
  }
  const T least = std::numeric_limits<T>::epsilon();
  for (int i = 0; i < kVectors; ++i) seen[i] = seen[i] < least ? all<T>(least) : seen[i];
  *row = sum;
  *weight = seen;
}

template <typename T>
void correct(int64_t features, const Step<T>& before, T* residual, const T* observed) {
  for (int64_t p = 0; p < features; ++p)
    for (int i = 0; i < kVectors; ++i) {
      const int64_t at = p * kBlock<T> + i * kLanes<T>;
      Vec<T> step = before.atom[p] * before.change[i];
      if (observed != nullptr) step *= load(observed + at);
      store(residual + at, load(residual + at) - step);
    }
}

// 1 where a sample may use atom k.
template <typename T>
PADL_INLINE Row<T> allowed(const Pass<T>& pass, const Place& place, const Row<T>& valid, int64_t k) {
  Row<T> on;
  for (int i = 0; i < kVectors; ++i) on[i] = pass.active == nullptr ? valid[i] : valid[i] * pass.active[k];
  if (pass.excluded != nullptr)
    for (int64_t s = 0; s < place.count; ++s)
      if (pass.excluded[place.at + s] == k) on[s / kLanes<T>][s % kLanes<T>] = 0;
  return on;
}

// The codes of the atoms after the next two are far apart in memory, where no hardware looks ahead.
template <typename T>
PADL_INLINE void look_ahead(const Pass<T>& pass, const Place& place, int64_t k) {
  constexpr int64_t line = kBytes / sizeof(T);
  const int64_t at = place.at_atoms + k * pass.samples;
  for (int64_t s = 0; s < place.count; s += line) {
    __builtin_prefetch(pass.codes + at + s, 0);
    __builtin_prefetch(pass.new_codes + at + s, 1);
  }
}

// Updates atom k by the rule and returns what its codes changed by. A rule has
//   Block start(place): what it keeps for a block, and finish(block, place);
//   Row update(k, place, block, linear, weight, old, on, sums): the new codes, where the squared error of code r is
//     weight / 2 r^2 - (linear + weight old) r; weight is 1 for all where nothing is missing;
//   idle(k, place): the codes of atom k are all zero and stay so;
//   kSums: numbers (kSums, atoms) that it sums over samples.
template <bool masked, typename Rule, typename T>
PADL_INLINE Row<T> update(const Pass<T>& pass, const Rule& rule, const Place& place, typename Rule::Block& block, int64_t k,
                          const Row<T>& valid, const Row<T>& linear, const Row<T>& weight, Vec<double>* sums) {
  const Row<T> old = get(pass.codes + place.at_atoms + k * pass.samples, place.count);
  const Row<T> on = allowed(pass, place, valid, k);
  const Row<T> codes = rule.template update<masked>(k, place, block, linear, weight, old, on, sums);
  put(pass.new_codes + place.at_atoms + k * pass.samples, codes, place.count);
  Row<T> change;
  for (int i = 0; i < kVectors; ++i) change[i] = codes[i] - old[i];
  return change;
}

// The atoms that samples [first, end) of a tile go through: those in use and those that were.
template <typename T>
std::vector<int64_t> live_atoms(const Pass<T>& pass, int64_t tile, int64_t first, int64_t end) {
  std::vector<int64_t> live;
  for (int64_t k = 0; k < pass.atoms; ++k) {
    const T* codes = pass.codes + (tile * pass.atoms + k) * pass.samples;
    if (pass.active == nullptr || pass.active[k] != 0 || std::any_of(codes + first, codes + end, [](T r) { return r != 0; })) live.push_back(k);
  }
  return live;
}

// What a unit of work shares: its atoms, and the products of the two of each pair.
template <typename T>
struct Unit {
  std::vector<int64_t> live;
  std::vector<T> products;
  Aligned<T> residual, observed;

  Unit(const Pass<T>& pass, int64_t tile, int64_t first, int64_t end)
      : live(live_atoms(pass, tile, first, end)),
        residual(pass.features * kBlock<T>),
        observed(pass.observed != nullptr ? pass.features * kBlock<T> : 0) {
    const int64_t P = pass.features;
    for (size_t j = 0; j + 1 < live.size() && pass.observed == nullptr; j += 2)
      products.push_back(product_of(P, pass.dictionary + live[j] * P, pass.dictionary + live[j + 1] * P));
  }
};

template <typename Rule, typename T>
void through_pairs(const Pass<T>& pass, const Rule& rule, const Place& place, Unit<T>& unit, typename Rule::Block& block,
                   const Row<T>& valid, Vec<double>* sums) {
  const int64_t P = pass.features, count = unit.live.size();
  T* residual = unit.residual.data();
  Step<T> before[2] = {{pass.dictionary, {}}, {pass.dictionary, {}}};
  const Row<T> one = ones<T>();
  for (int64_t j = 0; j < count; j += 2) {
    const int64_t k = unit.live[j], l = unit.live[std::min(j + 1, count - 1)];
    for (int64_t next = j + 2; next < std::min(j + 4, count); ++next) look_ahead(pass, place, unit.live[next]);
    const T *a = pass.dictionary + k * P, *b = pass.dictionary + l * P;
    Row<T> row_a, row_b;
    correct_and_correlate<T>(P, before, a, b, residual, &row_a, &row_b);
    before[0] = {a, update<false>(pass, rule, place, block, k, valid, row_a, one, sums)};
    if (j + 1 == count) {
      before[1].change = {};
      break;
    }
    for (int i = 0; i < kVectors; ++i) row_b[i] -= unit.products[j / 2] * before[0].change[i];
    before[1] = {b, update<false>(pass, rule, place, block, l, valid, row_b, one, sums)};
  }
  for (const auto& step : before) correct<T>(P, step, residual, nullptr);
}

template <typename Rule, typename T>
void through_seen(const Pass<T>& pass, const Rule& rule, const Place& place, Unit<T>& unit, typename Rule::Block& block,
                  const Row<T>& valid, Vec<double>* sums) {
  const int64_t P = pass.features;
  T *residual = unit.residual.data(), *observed = unit.observed.data();
  gather(pass.observed + place.at_features, pass.samples, P, place.count, observed);
  Step<T> before{pass.dictionary, {}};
  for (const int64_t k : unit.live) {
    const T* atom = pass.dictionary + k * P;
    Row<T> row, weight;
    correct_and_correlate_seen<T>(P, before, atom, residual, observed, &row, &weight);
    before = {atom, update<true>(pass, rule, place, block, k, valid, row, weight, sums)};
  }
  correct<T>(P, before, residual, observed);
}

template <typename Rule, typename T>
void sweep_block(const Pass<T>& pass, const Rule& rule, const Place& place, Unit<T>& unit, Vec<double>* sums) {
  const int64_t n = pass.samples, P = pass.features;
  gather(pass.residual + place.at_features, n, P, place.count, unit.residual.data());
  const Row<T> valid = pass.valid == nullptr ? ones<T>() : get(pass.valid + place.at, place.count);
  auto block = rule.start(place);
  for (int64_t k = 0, j = 0, live = unit.live.size(); k < pass.atoms; ++k) {
    if (j < live && unit.live[j] == k) {
      ++j;
    } else {
      put(pass.new_codes + place.at_atoms + k * n, Row<T>{}, place.count);
      rule.idle(k, place);
    }
  }
  if (pass.observed == nullptr)
    through_pairs(pass, rule, place, unit, block, valid, sums);
  else
    through_seen(pass, rule, place, unit, block, valid, sums);
  scatter(unit.residual.data(), n, P, place.count, pass.new_residual + place.at_features);
  rule.finish(block, place);
}

// All tiles; ``sums`` (tiles, Rule::kSums, atoms).
template <typename Rule, typename T>
void sweep(const Pass<T>& pass, const Rule& rule, xla::ffi::ThreadPool& pool, T* sums) {
  const int64_t K = pass.atoms, n = pass.samples, units_a_tile = (n + kUnit - 1) / kUnit, size = Rule::kSums * K;
  const int64_t units = pass.tiles * units_a_tile;
  // Of each unit, so that the order of addition does not depend on the threads.
  std::vector<double> parts(units * size);
  const auto one = [&](int64_t i) {
    const int64_t tile = i / units_a_tile, begin = (i % units_a_tile) * kUnit, end = std::min<int64_t>(begin + kUnit, n);
    Unit<T> unit(pass, tile, begin, end);
    std::vector<Vec<double>> sums(size);
    for (int64_t first = begin; first < end; first += kBlock<T>) {
      const int64_t count = std::min<int64_t>(kBlock<T>, end - first);
      const Place place{tile, first, count, tile * pass.features * n + first, tile * K * n + first, tile * n + first};
      sweep_block(pass, rule, place, unit, sums.data());
    }
    for (int64_t j = 0; j < size; ++j) parts[i * size + j] = total_of(sums[j]);
  };
  Team(pool, units).run(units, one);
  for (int64_t tile = 0; tile < pass.tiles; ++tile)
    for (int64_t j = 0; j < size; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < units_a_tile; ++i) sum += parts[(tile * units_a_tile + i) * size + j];
      sums[tile * size + j] = static_cast<T>(sum);
    }
}

}  // namespace padl
