// One Euler step of a cell, by one warp; follows sums.cu.

// H = M + ridge I as L D L^T in place of its upper triangle; false where a pivot is not positive.
__device__ __forceinline__ bool factor(real (&H)[D]) {
  bool is_solved = true;
#pragma unroll
  for (int j = 0; j < P; ++j) {
    const real pivot = H[at(j, j)];
    is_solved = is_solved && pivot > 0 && pivot < -LOWEST;
    H[at(j, j)] = 1 / pivot;
#pragma unroll
    for (int a = j + 1; a < P; ++a) {
      const real scaled = H[at(j, a)] * H[at(j, j)];
#pragma unroll
      for (int b = a; b < P; ++b) H[at(a, b)] = fma(-scaled, H[at(j, b)], H[at(a, b)]);
    }
#pragma unroll
    for (int a = j + 1; a < P; ++a) H[at(j, a)] *= H[at(j, j)];
  }
  return is_solved;
}

__device__ __forceinline__ void substitute(const real (&H)[D], real (&v)[P]) {
#pragma unroll
  for (int a = 1; a < P; ++a)
#pragma unroll
    for (int j = 0; j < a; ++j) v[a] = fma(-H[at(j, a)], v[j], v[a]);
#pragma unroll
  for (int a = P - 1; a >= 0; --a) {
    v[a] *= H[at(a, a)];
#pragma unroll
    for (int b = a + 1; b < P; ++b) v[a] = fma(-H[at(a, b)], v[b], v[a]);
  }
}

__device__ __forceinline__ void load_hessian(const real* total, real ridge, real (&H)[D]) {
#pragma unroll
  for (int k = 0; k < D; ++k) H[k] = total[3 + k];
#pragma unroll
  for (int a = 0; a < P; ++a) H[at(a, a)] += ridge;
}

// The pair (a, b) of coordinate k; b = P stands for y.
__device__ __forceinline__ void pair_of(int k, int& a, int& b) {
  a = 0;
  b = k;
  if (k >= D - P) {
    a = k - (D - P);
    b = P;
    return;
  }
  while (b >= P - a) b -= P - a++;
  b += a;
}

// Add eta times the coefficient of (x.theta)(x.v) - y (x.v) to U_k, all in twice the digits.
__device__ __forceinline__ void advance_coordinate(const Cell& cell, int k, real eta, real& high,
                                                   real& low) {
  int a, b;
  pair_of(k, a, b);
  real lead = -cell.v[a], rest = 0;
  if (b < P) {
    const real p = cell.theta[a] * cell.v[b], q = b > a ? cell.theta[b] * cell.v[a] : 0;
    rest = fma(cell.theta[a], cell.v[b], -p);
    if (b > a) rest += fma(cell.theta[b], cell.v[a], -q);
    lead = p + q;
    const real back = lead - p;
    rest += (p - (lead - back)) + (q - back);
  }
  const real step = eta * lead;
  const real little = fma(eta, rest, fma(eta, lead, -step));
  const real sum = cell.high[k] + step;
  const real back = sum - cell.high[k];
  const real error = (cell.high[k] - (sum - back)) + (step - back);
  const real tail = cell.low[k] + (error + little);
  high = sum + tail;
  low = tail - (high - sum);
}

// Write U_k to the cell, cut for logits of size up to `size`.
__device__ __forceinline__ void set_coordinate(Cell& cell, const Problem& q, int k, real high,
                                               real low, real size) {
  const real unit = scalbn(real(1), ilogb(size > 1 ? size : real(1)) + 2 - DIGITS);
  const real magic = magic_of(unit / q.scale[D + k]);
  cell.high[k] = high;
  cell.low[k] = low;
  cell.lead[k] = magic < -LOWEST ? (high + magic) - magic : 0;  // 0: nothing is cut
  cell.rest[k] = (high - cell.lead[k]) + low;
}

// One warp: |phi|.|U| of a lane's share, summed; the same in all lanes.
__device__ __forceinline__ real share_size(real size) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) size += __shfl_xor_sync(ALL, size, offset);
  return size;
}

// Warp 0: read the cell; the block waits for it.
__device__ __forceinline__ void load_cell(Cell& cell, const Problem& q, const real* theta,
                                          const real* U) {
  if (threadIdx.x < WARP) {
    real size = 0;
    for (int k = threadIdx.x; k < D; k += WARP) size += q.scale[k] * fabs(U[k]);
    size = share_size(size);
    for (int k = threadIdx.x; k < D; k += WARP) {
      cell.magic[k] = magic_of(q.scale[D + k]);
      set_coordinate(cell, q, k, U[k], U[D + k], size);
    }
    if (threadIdx.x < P) cell.theta[threadIdx.x] = theta[threadIdx.x];
    if (threadIdx.x == 0) {
      cell.is_near = size <= NEAR;
      cell.verdict = 0;
    }
  }
  __syncthreads();
}

// One warp: one Euler step from normalised moments; leaves the cell as it was if it fails.
__device__ __forceinline__ void move(Cell& cell, const Problem& q, const real* total, real rho,
                                     real eta) {
  const int lane = threadIdx.x % WARP;
  const real ridge = q.constants[P * P + P];
  real H[D], theta[P], v[P];
  load_hessian(total, ridge, H);
  real largest = 0;
  bool is_number = true;
#pragma unroll
  for (int a = 0; a < P; ++a) {
    real slope = -H[D - P + a];
    v[a] = -q.constants[P * P + a];
#pragma unroll
    for (int b = 0; b < P; ++b) {
      slope = fma(H[a < b ? at(a, b) : at(b, a)], cell.theta[b], slope);
      v[a] = fma(q.constants[a * P + b], cell.theta[b], v[a]);
    }
    theta[a] = fma(-rho, slope, cell.theta[a]);
    is_number = is_number && theta[a] == theta[a];
    largest = fabs(theta[a]) > largest ? fabs(theta[a]) : largest;
  }
  const bool is_solved = factor(H);
  substitute(H, v);
  if (lane == 0)
#pragma unroll
    for (int a = 0; a < P; ++a) cell.v[a] = v[a];
  __syncwarp(ALL);
  real high[(D + WARP - 1) / WARP], low[(D + WARP - 1) / WARP], size = 0;
#pragma unroll
  for (int j = 0; j < (D + WARP - 1) / WARP; ++j) {
    const int k = lane + j * WARP;
    if (k >= D) break;
    advance_coordinate(cell, k, eta, high[j], low[j]);
    size += q.scale[k] * fabs(high[j]);
  }
  size = share_size(size);
  int verdict = largest > real(BOUND) ? DIVERGED : 0;
  if (!is_number || !(size < LARGEST)) verdict = NONFINITE;
  if (!is_solved) verdict = UNDERFLOW;
  __syncwarp(ALL);  // all lanes have read what is overwritten now
  if (verdict == 0) {
#pragma unroll
    for (int j = 0; j < (D + WARP - 1) / WARP; ++j) {
      const int k = lane + j * WARP;
      if (k < D) set_coordinate(cell, q, k, high[j], low[j], size);
    }
    if (lane == 0)
#pragma unroll
      for (int a = 0; a < P; ++a) cell.theta[a] = theta[a];
  }
  if (lane == 0) {
    cell.is_near = size <= NEAR;
    cell.verdict = verdict;
  }
  __syncwarp(ALL);
}

// Warp 0: write the cell back.
__device__ __forceinline__ void store_cell(const Cell& cell, real* theta, real* U) {
  if (threadIdx.x < P) theta[threadIdx.x] = cell.theta[threadIdx.x];
  for (int k = threadIdx.x; k < D; k += WARP) {
    U[k] = cell.high[k];
    U[D + k] = cell.low[k];
  }
}
