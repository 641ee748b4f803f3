// A Newton step of sparse coding, solved directly; padl_bayes/kernels/newton.py is what it must agree with.
//
// Given the levels of the rows, samples do not meet: each solves for its free codes. What is left of the objective is
// quadratic in the levels (a Schur complement, summed over samples).

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
constexpr int64_t kTile = 16;   // samples whose codes are read together
constexpr int64_t kWidth = kLanes<double> < 4 ? 4 : kLanes<double>;  // of whole vectors and of rows by fours
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
  std::vector<int> free, clipped;
  std::vector<double> slope, sign, outwards;

  void clear() {
    free.clear();
    clipped.clear();
    slope.clear();
    sign.clear();
    outwards.clear();
  }
};

// Cholesky's factor L (n, n) in place of the lower triangle, its diagonal inverted. A variable that depends on those
// before it has zero there, and keeps its value.
void factorise(double* a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    double* row = a + i * n;
    const double diagonal = row[i];
    double left = diagonal;
    for (int64_t j = 0; j < i; ++j) {
      const double* other = a + j * n;
      double sum = row[j];
      for (int64_t m = 0; m < j; ++m) sum -= row[m] * other[m];
      row[j] = sum * other[j];
      left -= row[j] * row[j];
    }
    // Not a number passes, as an error must.
    row[i] = left <= kSingular * diagonal ? 0 : 1 / std::sqrt(left);
  }
}

// x (n, columns) becomes the solution of L y = x; ``columns`` is a multiple of the lanes.
void solve_lower(const double* l, int64_t n, double* x, int64_t columns) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t at = 0; at < columns; at += kLanes<double>) {
      Vec<double> sum = load(x + i * columns + at);
      for (int64_t j = 0; j < i; ++j) sum -= l[i * n + j] * load(x + j * columns + at);
      store(x + i * columns + at, sum * l[i * n + i]);
    }
}

void solve_lower(const double* l, int64_t n, double* x) {
  for (int64_t i = 0; i < n; ++i) {
    double sum = x[i];
    for (int64_t j = 0; j < i; ++j) sum -= l[i * n + j] * x[j];
    x[i] = sum * l[i * n + i];
  }
}

void solve_upper(const double* l, int64_t n, double* x) {
  for (int64_t i = n - 1; i >= 0; --i) {
    double sum = x[i];
    for (int64_t j = i + 1; j < n; ++j) sum -= l[j * n + i] * x[j];
    x[i] = sum * l[i * n + i];
  }
}

// Lower triangle of y' y for y (n, columns), row by row up to the vector that holds the diagonal.
void products(const double* y, int64_t n, int64_t columns, double* out) {
  for (int64_t i = 0; i < columns; i += 4)
    for (int64_t at = 0; at <= i + 3; at += kLanes<double>) {
      Vec<double> sum[4] = {};
      for (int64_t m = 0; m < n; ++m) {
        const Vec<double> with = load(y + m * columns + at);
        for (int j = 0; j < 4; ++j) sum[j] += y[m * columns + i + j] * with;
      }
      for (int j = 0; j < 4; ++j) store(out + (i + j) * columns + at, sum[j]);
    }
}

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
    for_each_sample([&](int64_t part, const Support& support, Scratch&, int64_t) { work[part] += work_of(support); });
    for (int64_t part = 1; part < kParts; ++part) work[0] += work[part];
    // Where samples use many atoms the step would take longer than the sweeps that it saves.
    if (work[0] > 4.0 * task_.features * K * task_.samples) return;
    for_each_sample([&](int64_t part, const Support& support, Scratch& scratch, int64_t) {
      eliminate(support, scratch, schur.data() + part * K * K, gains.data() + part * K);
    });
    solve_for_levels(schur, gains);
    const double* levels = gains.data();
    for_each_sample([&](int64_t, const Support& support, Scratch& scratch, int64_t sample) {
      substitute(support, scratch, levels, sample);
    });
  }

 private:
  struct Scratch {
    std::vector<double> factor, columns, products;
  };

  static double work_of(const Support& support) {
    const double s = support.free.size(), c = support.clipped.size();
    return s * s * s / 3 + s * s * (c + 3) + (s + 1) * c * (c + 1);
  }

  // ``visit(part, support, scratch, sample)`` for all samples, those of a part in order and by one thread.
  template <typename Visit>
  void for_each_sample(const Visit& visit) {
    const int64_t N = task_.samples;
    team_.run(kParts, [&](int64_t part) {
      std::vector<Support> supports(kTile);
      Scratch scratch;
      const int64_t end = (part + 1) * N / kParts;
      for (int64_t first = part * N / kParts; first < end; first += kTile) {
        const int64_t count = std::min(kTile, end - first);
        find(first, count, supports.data());
        for (int64_t i = 0; i < count; ++i) visit(part, supports[i], scratch, first + i);
      }
    });
  }

  void find(int64_t first, int64_t count, Support* supports) const {
    for (int64_t i = 0; i < count; ++i) supports[i].clear();
    for (int64_t k = 0; k < task_.rows; ++k) {
      const T *codes = task_.codes + k * task_.samples + first, level = task_.levels[k];
      if (level == 0) continue;
      const T* correlations = task_.correlations + k * task_.samples + first;
      for (int64_t i = 0; i < count; ++i) {
        if (codes[i] == 0) continue;
        const double sign = codes[i] < 0 ? -1 : 1, outwards = sign * correlations[i] - task_.alpha1;
        if (task_.alpha2 > 0 && std::abs(codes[i]) == level) {
          supports[i].clipped.push_back(static_cast<int>(k));
          supports[i].sign.push_back(sign);
          supports[i].outwards.push_back(outwards);
        } else {
          supports[i].free.push_back(static_cast<int>(k));
          supports[i].slope.push_back(sign * outwards);
        }
      }
    }
  }

  const double* gram(int64_t k) const { return gram_.data() + k * task_.rows; }

  // The factor of the free atoms' Gram matrix.
  const double* factor(const Support& support, Scratch& scratch) const {
    const int64_t s = support.free.size();
    scratch.factor.resize(s * s);
    for (int64_t i = 0; i < s; ++i) {
      const double* row = gram(support.free[i]);
      for (int64_t j = 0; j <= i; ++j) scratch.factor[i * s + j] = row[support.free[j]];
    }
    factorise(scratch.factor.data(), s);
    return scratch.factor.data();
  }

  // Add a sample's share of what is left for the levels.
  void eliminate(const Support& support, Scratch& scratch, double* schur, double* gains) const {
    const int64_t s = support.free.size(), c = support.clipped.size(), K = task_.rows;
    if (c == 0) return;
    // The clipped atoms' columns, then that of the slopes.
    const int64_t columns = (c + kWidth) / kWidth * kWidth;
    scratch.columns.assign(s * columns, 0.0);
    scratch.products.resize(columns * columns);
    const double* l = factor(support, scratch);
    for (int64_t i = 0; i < s; ++i) {
      const double* row = gram(support.free[i]);
      double* to = scratch.columns.data() + i * columns;
      for (int64_t j = 0; j < c; ++j) to[j] = row[support.clipped[j]] * support.sign[j];
      to[c] = support.slope[i];
    }
    solve_lower(l, s, scratch.columns.data(), columns);
    products(scratch.columns.data(), s, columns, scratch.products.data());
    for (int64_t i = 0; i < c; ++i) {
      const int64_t k = support.clipped[i];
      const double *row = gram(k), *taken = scratch.products.data() + i * columns;
      double* to = schur + k * K;
      for (int64_t j = 0; j <= i; ++j)
        to[support.clipped[j]] += support.sign[i] * support.sign[j] * row[support.clipped[j]] - taken[j];
      gains[k] += support.outwards[i] - scratch.products[c * columns + i];
    }
  }

  // The change of each level, in ``gains``.
  void solve_for_levels(std::vector<double>& schur, std::vector<double>& gains) const {
    const int64_t K = task_.rows;
    for (int64_t part = 1; part < kParts; ++part) {
      for (int64_t i = 0; i < K * K; ++i) schur[i] += schur[part * K * K + i];
      for (int64_t i = 0; i < K; ++i) gains[i] += gains[part * K + i];
    }
    for (int64_t k = 0; k < K; ++k)
      if (schur[k * K + k] != 0) gains[k] -= task_.alpha2;
    factorise(schur.data(), K);
    solve_lower(schur.data(), K, gains.data());
    solve_upper(schur.data(), K, gains.data());
  }

  void substitute(const Support& support, Scratch& scratch, const double* levels, int64_t sample) const {
    const int64_t s = support.free.size(), c = support.clipped.size();
    scratch.columns.assign(support.slope.begin(), support.slope.end());
    double* own = scratch.columns.data();
    for (int64_t i = 0; i < c; ++i) {
      const double change = support.sign[i] * levels[support.clipped[i]], *row = gram(support.clipped[i]);
      task_.change[support.clipped[i] * task_.samples + sample] = static_cast<T>(change);
      for (int64_t j = 0; j < s; ++j) own[j] -= row[support.free[j]] * change;
    }
    const double* l = factor(support, scratch);
    solve_lower(l, s, own);
    solve_upper(l, s, own);
    for (int64_t j = 0; j < s; ++j) task_.change[support.free[j] * task_.samples + sample] = static_cast<T>(own[j]);
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
