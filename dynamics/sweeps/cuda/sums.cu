// Euler steps of least squares in reduced coordinates (theory T8), one cell per block.
//
// Options: -DP= (parameters) -DREAL= (float or double) -DBOUND= -DDIVERGED= -DNONFINITE=
// -DUNDERFLOW= (status.py), --fmad=false: products and sums are fused where fma is written, and
// only there. Nothing of this file needs a host header, and nothing in it synchronises by luck:
// tests run it with fibers in place of threads, forwards and backwards.
//
// The state of a cell is theta (P,) and U (D,) as an unevaluated sum high + low. The log-weight of
// a sample is log w0 + phi.U. As a plain sum it would lose digits once U is large, so a logit is a
// pair: features and U are cut at powers of two such that the products of the leading parts sum
// without any error (head); the rest, 2^-22 of it, goes to the tail. Differences of logits, and
// nothing else is ever used, are then good to round-off. While |phi|.|U| is small a plain sum is as
// good, and needs no maximum either. Measured at the end of 1000 steps, in cells that keep a few
// samples with |U| = 2e4: off by 3e-15 like this, 7e-12 with plain sums, 1e-11 without `low`.
//
// Sums go in a fixed order: rows by stride over the threads, lanes by a tree, warps and slices one
// after the other. A cell is bit for bit the same whatever its neighbours do.

typedef REAL real;

constexpr int D = P * (P + 3) / 2;
constexpr int SUMS = D + 1;   // sum of the weights, moments
constexpr int PARTS = D + 3;  // head and tail of their reference before them
constexpr int PADDED = SUMS > 32 ? 64 : SUMS > 16 ? 32 : SUMS > 8 ? 16 : SUMS > 4 ? 8 : 4;
constexpr int WARP = 32;
constexpr int MAX_WARPS = 8;
constexpr int LEVELS = 4;  // thresholds of the support counted by one launch
constexpr unsigned ALL = 0xffffffffu;
constexpr bool IS_DOUBLE = sizeof(real) == 8;
constexpr int DIGITS = IS_DOUBLE ? 53 : 24;
constexpr bool FORGETS = IS_DOUBLE || P > 3;
constexpr real NEAR = 16;  // |phi|.|U| up to which plain logits are used
constexpr real LARGEST = IS_DOUBLE ? 1e300 : 1e36;  // and from which on they are called not finite
constexpr real LOWEST = IS_DOUBLE ? -1.7976931348623157e308 : -3.4028234e38;

struct Logit {
  real head, tail;
};

struct Sums {
  Logit top;
  real values[PADDED];
};

// What the threads of a block share of a cell. `lead` and `rest` are U cut for `split_logit`.
struct Cell {
  real theta[P], v[P], high[D], low[D], lead[D], rest[D];
  real magic[D];
  int is_near, verdict;
};

struct Problem {
  const real* rows;       // (P + 2, n): the columns of X, y, log w0
  const real* scale;      // (2, D): bound of each feature, and the power of two to cut it at
  const real* constants;  // Hessian (P, P) and target (P,) of F, then the ridge
  int n;
};

__device__ __forceinline__ constexpr int at(int a, int b) { return a * P - a * (a - 1) / 2 + b - a; }

__device__ __forceinline__ real magic_of(real quantum) {
  return real(1.5) * quantum * (IS_DOUBLE ? real(4503599627370496.0) : real(8388608.0));
}

__device__ __forceinline__ real difference(Logit a, Logit b) {
  return (a.head - b.head) + (a.tail - b.tail);
}

// From here on U is read anew: kept in registers across rows it would drive the sums out of them.
__device__ __forceinline__ void forget() {
  if (FORGETS) asm volatile("" ::: "memory");
}

__device__ __forceinline__ void load_row(const Problem& q, int i, real (&z)[P + 1], real& log_w0) {
#pragma unroll
  for (int a = 0; a <= P; ++a) z[a] = q.rows[(long long)a * q.n + i];
  log_w0 = q.rows[(long long)(P + 1) * q.n + i];
}

__device__ __forceinline__ real plain_logit(const Cell& cell, const real (&z)[P + 1], real log_w0) {
  real logit = log_w0;
#pragma unroll
  for (int a = 0; a < P; ++a) {
    real slope = z[P] * cell.high[D - P + a];
#pragma unroll
    for (int b = a; b < P; ++b) slope = fma(z[b], cell.high[at(a, b)], slope);
    logit = fma(z[a], slope, logit);
  }
  return logit;
}

__device__ __forceinline__ void add_term(const Cell& cell, int k, real x, real z, Logit& out) {
  const real lead = fma(x, z, cell.magic[k]) - cell.magic[k];
  const real rest = fma(x, z, -lead);
  out.head = fma(lead, cell.lead[k], out.head);
  out.tail = fma(rest, cell.high[k], out.tail);
  out.tail = fma(lead, cell.rest[k], out.tail);
}

__device__ __forceinline__ Logit split_logit(const Cell& cell, const real (&z)[P + 1], real log_w0) {
  Logit out = {0, log_w0};
#pragma unroll
  for (int a = 0; a < P; ++a) {
#pragma unroll
    for (int b = a; b < P; ++b) add_term(cell, at(a, b), z[a], z[b], out);
    add_term(cell, D - P + a, z[a], z[P], out);
  }
  return out;
}

__device__ __forceinline__ void add_row(Sums& sums, real w, const real (&z)[P + 1]) {
  real* moments = sums.values + 1;
  sums.values[0] += w;
#pragma unroll
  for (int a = 0; a < P; ++a) {
    const real x = w * z[a];
#pragma unroll
    for (int b = a; b < P; ++b) moments[at(a, b)] = fma(x, z[b], moments[at(a, b)]);
    moments[D - P + a] = fma(x, z[P], moments[D - P + a]);
  }
}

__device__ __forceinline__ void rescale(Sums& sums, real factor) {
#pragma unroll
  for (int k = 0; k < SUMS; ++k) sums.values[k] *= factor;
}

// Sums of this thread over rows first ... last - 1, relative to its largest logit so far.
__device__ __forceinline__ Sums sum_rows(const Problem& q, const Cell& cell, int first, int last,
                                         bool is_near) {
  Sums sums;
  sums.top = is_near ? Logit{0, 0} : Logit{LOWEST, 0};
#pragma unroll
  for (int k = 0; k < PADDED; ++k) sums.values[k] = 0;
  real z[P + 1], log_w0;
  if (is_near) {
    for (int i = first + (int)threadIdx.x; i < last; i += blockDim.x) {
      forget();
      load_row(q, i, z, log_w0);
      add_row(sums, exp(plain_logit(cell, z, log_w0)), z);
    }
    return sums;
  }
  for (int i = first + (int)threadIdx.x; i < last; i += blockDim.x) {
    forget();
    load_row(q, i, z, log_w0);
    const Logit logit = split_logit(cell, z, log_w0);
    real gap = difference(logit, sums.top);
    if (gap > 0) {
      rescale(sums, exp(-gap));
      sums.top = logit;
      gap = 0;
    }
    add_row(sums, exp(gap), z);
  }
  return sums;
}

template <class T>
__device__ __forceinline__ T sum_lanes(T x) {  // the sum is lane 0's
  for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_down_sync(ALL, x, offset);
  return x;
}

// Sum arrays over the lanes; each lane ends with entries lane COUNT / 32 on. Every round adds what
// half of the lanes have of one half of the entries to what the others have of it.
template <int COUNT, int OFFSET>
struct Fold {
  static __device__ __forceinline__ void apply(real (&x)[PADDED]) {
    constexpr int HALF = COUNT > 1 ? COUNT / 2 : 1;
    const bool is_upper = threadIdx.x & OFFSET;
#pragma unroll
    for (int k = 0; k < HALF; ++k) {
      const real lower = x[k], upper = COUNT > 1 ? x[k + HALF] : x[k];
      const real other = __shfl_xor_sync(ALL, is_upper ? lower : upper, OFFSET);
      x[k] = (is_upper ? upper : lower) + other;
    }
    Fold<HALF, OFFSET / 2>::apply(x);
  }
};

template <int COUNT>
struct Fold<COUNT, 0> {
  static __device__ __forceinline__ void apply(real (&)[PADDED]) {}
};

// Bring the sums of a warp to one reference and write them to parts (PARTS,).
__device__ __forceinline__ void reduce_warp(Sums& sums, bool is_near, real* parts) {
  const int lane = threadIdx.x % WARP;
  Logit top = sums.top;
  if (!is_near) {
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
      const Logit other = {__shfl_xor_sync(ALL, top.head, offset),
                           __shfl_xor_sync(ALL, top.tail, offset)};
      if (difference(other, top) > 0) top = other;
    }
    top.head = __shfl_sync(ALL, top.head, 0);
    top.tail = __shfl_sync(ALL, top.tail, 0);
    rescale(sums, exp(difference(sums.top, top)));
  }
  Fold<PADDED, WARP / 2>::apply(sums.values);
  if (lane == 0) {
    parts[0] = top.head;
    parts[1] = top.tail;
  }
  constexpr int EACH = PADDED > WARP ? PADDED / WARP : 1, TWINS = PADDED < WARP ? WARP / PADDED : 1;
#pragma unroll
  for (int j = 0; j < EACH; ++j) {
    const int k = lane / TWINS * EACH + j;
    if (lane % TWINS == 0 && k < SUMS) parts[2 + k] = sums.values[j];
  }
}

// One warp: bring `count` parts to one reference, in their order.
__device__ __forceinline__ void combine(const real* parts, int count, real* total) {
  const int lane = threadIdx.x % WARP;
  Logit top = {parts[0], parts[1]};
  for (int s = 1; s < count; ++s) {
    const Logit other = {parts[(long long)s * PARTS], parts[(long long)s * PARTS + 1]};
    if (difference(other, top) > 0) top = other;
  }
  for (int k = 2 + lane; k < PARTS; k += WARP) {
    real sum = 0;
    for (int s = 0; s < count; ++s) {
      const real* part = parts + (long long)s * PARTS;
      sum = fma(exp(difference(Logit{part[0], part[1]}, top)), part[k], sum);
    }
    total[k] = sum;
  }
  if (lane == 0) {
    total[0] = top.head;
    total[1] = top.tail;
  }
  __syncwarp(ALL);
}

// One warp: divide the moments by the sum of the weights.
__device__ __forceinline__ void normalise(real* total) {
  for (int k = 3 + (int)threadIdx.x % WARP; k < PARTS; k += WARP) total[k] /= total[2];
  __syncwarp(ALL);
}

// All threads of a block: sums over rows first ... last - 1, written by warp 0 to total (PARTS,).
__device__ __forceinline__ void sum_block(const Problem& q, const Cell& cell, int first, int last,
                                          bool is_near, real* parts, real* total) {
  const int warp = threadIdx.x / WARP, num_warps = blockDim.x / WARP;
  Sums sums = sum_rows(q, cell, first, last, is_near);
  if (num_warps == 1) {
    reduce_warp(sums, is_near, total);
    __syncwarp(ALL);
    return;
  }
  reduce_warp(sums, is_near, parts + warp * PARTS);
  __syncthreads();
  if (warp == 0) combine(parts, num_warps, total);
}
