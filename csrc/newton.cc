// A Newton step of sparse coding, solved directly; padl_bayes/kernels/newton.py is what it must agree with.
//
// Given the levels of the rows, samples do not meet: each solves for its free codes. What is left of the objective is
// quadratic in the levels (a Schur complement, summed over samples).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "buffers.h"
#include "parallel.h"
#include "vector_math.h"
#include "xla/ffi/api/ffi.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

constexpr int64_t kParts = 16;  // whose sums are added in order, whatever the threads
constexpr int64_t kTile = 64;   // samples whose codes are read together
constexpr double kSingular = 1e-12;

template <typename T>
struct Task {
  int64_t rows, features, samples;
  const T *atoms, *correlations, *codes, *levels;
  T alpha1, alpha2;
  T* change;
};

// The used codes of a sample: free ones with their slope, clipped ones with their sign and slope outwards.
struct Support {
  int64_t free, clipped;
  const int* free_atoms;
  const int* clipped_atoms;
  const double* slope;
  const double* sign;
  const double* outwards;
};

// The used codes of many samples, one after the other.
class Supports {
 public:
  void clear() {
    ends_.clear();
    atoms_.clear();
    signs_.clear();
    slopes_.clear();
  }

  int64_t size() const { return ends_.size(); }

  // One more sample.
  void append(const Supports& free, const Supports& clipped) {
    add(free);
    const int64_t middle = atoms_.size();
    add(clipped);
    ends_.push_back({middle, static_cast<int64_t>(atoms_.size())});
  }

  // One more code of the last sample.
  void append(int atom, double sign, double slope) {
    atoms_.push_back(atom);
    signs_.push_back(sign);
    slopes_.push_back(slope);
  }

  Support operator[](int64_t i) const {
    const int64_t begin = i == 0 ? 0 : ends_[i - 1].end, middle = ends_[i].middle;
    return {middle - begin,         ends_[i].end - middle,   atoms_.data() + begin,  atoms_.data() + middle,
            slopes_.data() + begin, signs_.data() + middle, slopes_.data() + middle};
  }

 private:
  struct End {
    int64_t middle, end;
  };

  void add(const Supports& other) {
    atoms_.insert(atoms_.end(), other.atoms_.begin(), other.atoms_.end());
    signs_.insert(signs_.end(), other.signs_.begin(), other.signs_.end());
    slopes_.insert(slopes_.end(), other.slopes_.begin(), other.slopes_.end());
  }

  std::vector<End> ends_;
  std::vector<int> atoms_;
  std::vector<double> signs_, slopes_;
};

// Symmetric positive matrices with more columns to their right: ``size`` rows of ``stride`` numbers, upper triangle.
struct Panel {
  std::vector<double> numbers;
  int64_t stride = 0;

  double* row(int64_t i) { return numbers.data() + i * stride; }
  const double* row(int64_t i) const { return numbers.data() + i * stride; }

  // Room for rows and columns, and for whole vectors at the end of a row.
  void resize(int64_t rows, int64_t columns) {
    stride = (columns + kLanes<double> - 1) / kLanes<double> * kLanes<double>;
    if (static_cast<int64_t>(numbers.size()) < rows * stride) numbers.resize(rows * stride);
  }

  // Take out the first ``pivots`` variables: their rows become those of Cholesky's factor, the diagonal inverted, and
  // what follows them the Schur complement. A variable that depends on those before it has zero there, and keeps its
  // value.
  void eliminate(int64_t pivots, int64_t rows, const double* diagonal) {
    for (int64_t k = 0; k < pivots; ++k) {
      double* pivot = row(k);
      // Not a number passes, as an error must.
      const double scale = pivot[k] <= kSingular * diagonal[k] ? 0 : 1 / std::sqrt(pivot[k]);
      for (int64_t at = first_vector(k); at < stride; at += kLanes<double>) store(pivot + at, load(pivot + at) * scale);
      for (int64_t i = k + 1; i < rows; ++i) {
        double* other = row(i);
        const double factor = pivot[i];
        for (int64_t at = first_vector(i); at < stride; at += kLanes<double>)
          store(other + at, load(other + at) - factor * load(pivot + at));
      }
      pivot[k] = scale;
    }
  }

  // x becomes the solution of U x = x for the factor's first ``size`` variables.
  void solve_upper(int64_t size, double* x) const {
    for (int64_t i = size - 1; i >= 0; --i) {
      const double* factor = row(i);
      double sum = x[i];
      for (int64_t j = i + 1; j < size; ++j) sum -= factor[j] * x[j];
      x[i] = sum * factor[i];
    }
  }

  static int64_t first_vector(int64_t column) { return column / kLanes<double> * kLanes<double>; }
};

template <typename T>
class Newton {
 public:
  Newton(const Task<T>& task, Team& team) : task_(task), team_(team), gram_(task.rows * task.rows) {
    const int64_t K = task.rows, P = task.features;
    for (int64_t i = 0; i < K; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < P; ++p) sum += double(task.atoms[i * P + p]) * double(task.atoms[j * P + p]);
        gram_[i * K + j] = gram_[j * K + i] = sum;
      }
  }

  void run() {
    const int64_t K = task_.rows;
    std::vector<double> schur(kParts * K * K), gains(kParts * K), work(kParts);
    std::vector<Supports> supports(kParts);
    // Where samples use many atoms the step would take longer than the sweeps that it saves.
    const double most = 4.0 * task_.features * K * task_.samples / kParts;
    team_.run(kParts, [&](int64_t part) {
      Scratch scratch;
      Supports& found = supports[part];
      for (int64_t first = begin_of(part); first < begin_of(part + 1) && work[part] <= most; first += kTile) {
        find(first, std::min(kTile, begin_of(part + 1) - first), scratch, found);
        for (int64_t i = first - begin_of(part); i < found.size() && work[part] <= most; ++i) {
          work[part] += work_of(found[i]);
          eliminate(found[i], scratch, schur.data() + part * K * K, gains.data() + part * K);
        }
      }
    });
    if (*std::max_element(work.begin(), work.end()) > most) return;
    const std::vector<double> levels = changes_of_levels(schur, gains);
    team_.run(kParts, [&](int64_t part) {
      Scratch scratch;
      for (int64_t i = 0; i < supports[part].size(); ++i)
        substitute(supports[part][i], scratch, levels.data(), begin_of(part) + i);
    });
  }

 private:
  struct Scratch {
    Panel panel;
    std::vector<double> diagonal, values;
    std::vector<Supports> free = std::vector<Supports>(kTile), clipped = std::vector<Supports>(kTile);
  };

  int64_t begin_of(int64_t part) const { return part * task_.samples / kParts; }

  static double work_of(const Support& support) {
    const double s = support.free, c = support.clipped;
    return s * s * s / 3 + s * s * (c + 3) + (s + 1) * c * (c + 1);
  }

  // The supports of a tile of samples, appended to others.
  void find(int64_t first, int64_t count, Scratch& scratch, Supports& found) const {
    for (int64_t i = 0; i < count; ++i) {
      scratch.free[i].clear();
      scratch.clipped[i].clear();
    }
    for (int64_t k = 0; k < task_.rows; ++k) {
      const T *codes = task_.codes + k * task_.samples + first, level = task_.levels[k];
      if (level == 0) continue;
      const T* correlations = task_.correlations + k * task_.samples + first;
      for (int64_t i = 0; i < count; ++i) {
        if (codes[i] == 0) continue;
        const double sign = codes[i] < 0 ? -1 : 1, outwards = sign * correlations[i] - task_.alpha1;
        if (task_.alpha2 > 0 && std::abs(codes[i]) == level) {
          scratch.clipped[i].append(static_cast<int>(k), sign, outwards);
        } else {
          scratch.free[i].append(static_cast<int>(k), sign, sign * outwards);
        }
      }
    }
    for (int64_t i = 0; i < count; ++i) found.append(scratch.free[i], scratch.clipped[i]);
  }

  const double* gram(int64_t k) const { return gram_.data() + k * task_.rows; }

  // Rows of the free atoms' Gram matrix, the clipped atoms beside them with their signs, and the slopes.
  void fill_free(const Support& support, Scratch& scratch, int64_t rows) const {
    const int64_t s = support.free, c = support.clipped;
    scratch.panel.resize(rows, s + c + 1);
    scratch.diagonal.resize(s);
    for (int64_t i = 0; i < s; ++i) {
      const double* from = gram(support.free_atoms[i]);
      double* to = scratch.panel.row(i);
      for (int64_t j = i; j < s; ++j) to[j] = from[support.free_atoms[j]];
      for (int64_t j = 0; j < c; ++j) to[s + j] = from[support.clipped_atoms[j]] * support.sign[j];
      to[s + c] = support.slope[i];
      scratch.diagonal[i] = to[i];
    }
  }

  // Add a sample's share of what is left for the levels.
  void eliminate(const Support& support, Scratch& scratch, double* schur, double* gains) const {
    const int64_t s = support.free, c = support.clipped, K = task_.rows;
    if (c == 0) return;
    fill_free(support, scratch, s + c);
    Panel& panel = scratch.panel;
    for (int64_t i = 0; i < c; ++i) {
      const double* from = gram(support.clipped_atoms[i]);
      double* to = panel.row(s + i) + s;
      for (int64_t j = i; j < c; ++j) to[j] = from[support.clipped_atoms[j]] * support.sign[i] * support.sign[j];
      to[c] = support.outwards[i];
    }
    panel.eliminate(s, s + c, scratch.diagonal.data());
    for (int64_t i = 0; i < c; ++i) {
      const double* from = panel.row(s + i) + s;
      double* to = schur + support.clipped_atoms[i] * K;
      for (int64_t j = i; j < c; ++j) to[support.clipped_atoms[j]] += from[j];
      gains[support.clipped_atoms[i]] += from[c];
    }
  }

  // From the sums over samples; a level that no code is at stays as it is.
  std::vector<double> changes_of_levels(const std::vector<double>& schur, const std::vector<double>& gains) const {
    const int64_t K = task_.rows;
    Panel panel;
    panel.resize(K, K + 1);
    std::vector<double> diagonal(K), change(K);
    for (int64_t k = 0; k < K; ++k) {
      double* to = panel.row(k);
      for (int64_t j = k; j <= K; ++j) to[j] = 0;
      for (int64_t part = 0; part < kParts; ++part) {
        const double* from = schur.data() + (part * K + k) * K;
        for (int64_t j = k; j < K; ++j) to[j] += from[j];
        to[K] += gains[part * K + k];
      }
      diagonal[k] = to[k];
      if (diagonal[k] != 0) to[K] -= task_.alpha2;
    }
    panel.eliminate(K, K, diagonal.data());
    for (int64_t k = 0; k < K; ++k) change[k] = panel.row(k)[K];
    panel.solve_upper(K, change.data());
    return change;
  }

  void substitute(const Support& support, Scratch& scratch, const double* levels, int64_t sample) const {
    const int64_t s = support.free, c = support.clipped;
    fill_free(support, scratch, s);
    Panel& panel = scratch.panel;
    panel.eliminate(s, s, scratch.diagonal.data());
    scratch.values.resize(s);
    double* own = scratch.values.data();
    for (int64_t i = 0; i < s; ++i) {
      const double* from = panel.row(i) + s;
      own[i] = from[c];
      for (int64_t j = 0; j < c; ++j) own[i] -= from[j] * levels[support.clipped_atoms[j]];
    }
    panel.solve_upper(s, own);
    for (int64_t i = 0; i < c; ++i)
      task_.change[support.clipped_atoms[i] * task_.samples + sample] =
          static_cast<T>(support.sign[i] * levels[support.clipped_atoms[i]]);
    for (int64_t j = 0; j < s; ++j) task_.change[support.free_atoms[j] * task_.samples + sample] = static_cast<T>(own[j]);
  }

  const Task<T>& task_;
  Team& team_;
  std::vector<double> gram_;
};

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("newton: ") + what); }

template <ffi::DataType type, typename T>
ffi::Error newton(ffi::ThreadPool pool, ffi::Buffer<type> atoms, ffi::Buffer<type> correlations, ffi::Buffer<type> codes,
                  ffi::Buffer<type> levels, ffi::Buffer<ffi::S32> n_rows, ffi::Buffer<type> alpha1,
                  ffi::Buffer<type> alpha2, ffi::Result<ffi::Buffer<type>> change) {
  if (atoms.dimensions().size() != 2) return wrong("atoms must have 2 dimensions");
  const int64_t W = atoms.dimensions()[0], P = atoms.dimensions()[1];
  if (codes.dimensions().size() != 2) return wrong("codes must have 2 dimensions");
  const int64_t N = codes.dimensions()[1];
  if (!has_shape(codes, {W, N}) || !has_shape(correlations, {W, N}) || !has_shape(*change, {W, N}))
    return wrong("codes, correlations and their change must be (rows, samples)");
  if (!has_shape(levels, {W})) return wrong("levels must be (rows,)");
  if (!has_shape(n_rows, {}) || !has_shape(alpha1, {}) || !has_shape(alpha2, {}))
    return wrong("n_rows, alpha1 and alpha2 must be scalars");
  const int64_t rows = *n_rows.typed_data();
  if (rows < 0 || rows > W) return wrong("n_rows must be between 0 and the number of rows");
  const Task<T> task{rows, P, N, atoms.typed_data(), correlations.typed_data(), codes.typed_data(), levels.typed_data(),
                     *alpha1.typed_data(), *alpha2.typed_data(), change->typed_data()};
  std::fill(task.change, task.change + W * N, T(0));
  Team team(pool, kParts);
  Newton<T>(task, team).run();
  return ffi::Error::Success();
}

template <ffi::DataType type>
auto binding() {
  using In = ffi::Buffer<type>;
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Arg<ffi::Buffer<ffi::S32>>()
      .template Arg<In>().template Arg<In>()
      .template Ret<In>();
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_newton_f32, (newton<ffi::F32, float>), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_newton_f64, (newton<ffi::F64, double>), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
