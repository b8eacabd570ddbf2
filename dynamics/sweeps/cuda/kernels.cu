// The kernels; follows sums.cu and step.cu.

// Steps first + 1 ... first + steps of the cells; grid (cells,), a multiple of 32 threads.
extern "C" __global__ void __launch_bounds__(WARP* MAX_WARPS)
    march(const real* rows, const real* scale, const real* constants, int n, const real* rates,
          real* theta, real* U, int* status, long long* last_step, long long first,
          long long steps) {
  __shared__ Cell cell;
  __shared__ real parts[MAX_WARPS * PARTS], total[PARTS];
  const Problem q = {rows, scale, constants, n};
  const long long b = blockIdx.x;
  if (status[b] != 0) return;
  load_cell(cell, q, theta + b * P, U + b * 2 * D);
  const real rho = rates[2 * b], eta = rates[2 * b + 1];
  long long step = 0;
  while (step < steps) {
    sum_block(q, cell, 0, n, cell.is_near, parts, total);
    if (threadIdx.x < WARP) {
      normalise(total);
      move(cell, q, total, rho, eta);
    }
    __syncthreads();
    if (cell.verdict != 0) break;
    ++step;
  }
  if (threadIdx.x < WARP) store_cell(cell, theta + b * P, U + b * 2 * D);
  if (threadIdx.x == 0) {
    status[b] = cell.verdict;
    last_step[b] = first + step;
  }
}

// Sums over one slice of the rows; grid (cells, slices). parts: (cells, slices, PARTS).
extern "C" __global__ void __launch_bounds__(WARP* MAX_WARPS)
    partial_moments(const real* rows, const real* scale, const real* constants, int n,
                    const real* theta, const real* U, const int* status, int with_top,
                    real* parts) {
  __shared__ Cell cell;
  __shared__ real block_parts[MAX_WARPS * PARTS], total[PARTS];
  const Problem q = {rows, scale, constants, n};
  const long long b = blockIdx.x;
  if (!with_top && status[b] != 0) return;
  load_cell(cell, q, theta + b * P, U + b * 2 * D);
  const int size = (n + (int)gridDim.y - 1) / (int)gridDim.y;
  const int first = (int)blockIdx.y * size, end = first + size < n ? first + size : n;
  sum_block(q, cell, first, end, cell.is_near && !with_top, block_parts, total);
  if (threadIdx.x < WARP)
    for (int k = threadIdx.x; k < PARTS; k += WARP)
      parts[(b * gridDim.y + blockIdx.y) * PARTS + k] = total[k];
}

// The step that partial_moments began; grid (cells,), 32 threads.
extern "C" __global__ void __launch_bounds__(WARP)
    finish_step(const real* scale, const real* constants, const real* parts, int slices,
                const real* rates, real* theta, real* U, int* status, long long* last_step,
                long long step) {
  __shared__ Cell cell;
  __shared__ real total[PARTS];
  const Problem q = {nullptr, scale, constants, 0};
  const long long b = blockIdx.x;
  if (status[b] != 0) return;
  load_cell(cell, q, theta + b * P, U + b * 2 * D);
  combine(parts + b * slices * PARTS, slices, total);
  normalise(total);
  move(cell, q, total, rates[2 * b], rates[2 * b + 1]);
  store_cell(cell, theta + b * P, U + b * 2 * D);
  if (threadIdx.x == 0) {
    status[b] = cell.verdict;
    last_step[b] = cell.verdict == 0 ? step : step - 1;
  }
}

// What weights are relative to, (cells, 3), and theta_star (cells, P); grid (cells,), 32 threads.
extern "C" __global__ void __launch_bounds__(WARP)
    finish_moments(const real* constants, const real* parts, int slices, real* reference,
                   real* theta_star) {
  __shared__ real total[PARTS];
  const long long b = blockIdx.x;
  combine(parts + b * slices * PARTS, slices, total);
  normalise(total);
  real H[D], v[P];
  load_hessian(total, constants[P * P + P], H);
#pragma unroll
  for (int a = 0; a < P; ++a) v[a] = H[D - P + a];
  const bool is_solved = factor(H);
  substitute(H, v);
  if (threadIdx.x == 0) {
#pragma unroll
    for (int a = 0; a < P; ++a) theta_star[b * P + a] = is_solved ? v[a] : real(nan(""));
  }
  if (threadIdx.x < 3) reference[3 * b + threadIdx.x] = total[threadIdx.x];
}

// Sums (cells, slices, 3) of w^2, w log w and clean w, relative to the largest weight, and counts
// (cells, slices, LEVELS) of log w above each level; grid (cells, slices).
extern "C" __global__ void __launch_bounds__(WARP* MAX_WARPS)
    partial_sums(const real* rows, const real* scale, const real* constants, int n,
                 const real* theta, const real* U, const real* reference, const real* clean,
                 const real* levels, real* sums, int* counts) {
  __shared__ Cell cell;
  __shared__ real block_sums[MAX_WARPS * 3];
  __shared__ int block_counts[MAX_WARPS * LEVELS];
  const Problem q = {rows, scale, constants, n};
  const long long b = blockIdx.x;
  load_cell(cell, q, theta + b * P, U + b * 2 * D);
  const Logit top = {reference[3 * b], reference[3 * b + 1]};
  const int size = (n + (int)gridDim.y - 1) / (int)gridDim.y;
  const int first = (int)blockIdx.y * size, end = first + size < n ? first + size : n;
  real sum[3] = {0, 0, 0}, z[P + 1], log_w0;
  int count[LEVELS] = {0, 0, 0, 0};
  for (int i = first + (int)threadIdx.x; i < end; i += blockDim.x) {
    load_row(q, i, z, log_w0);
    const real gap = difference(split_logit(cell, z, log_w0), top), w = exp(gap);
    sum[0] = fma(w, w, sum[0]);
    sum[1] = fma(w, gap, sum[1]);
    sum[2] = fma(w, clean[i], sum[2]);
#pragma unroll
    for (int j = 0; j < LEVELS; ++j) count[j] += gap > levels[j];
  }
  const int warp = threadIdx.x / WARP, num_warps = blockDim.x / WARP;
#pragma unroll
  for (int j = 0; j < 3; ++j) sum[j] = sum_lanes(sum[j]);
#pragma unroll
  for (int j = 0; j < LEVELS; ++j) count[j] = sum_lanes(count[j]);
  if (threadIdx.x % WARP == 0) {
#pragma unroll
    for (int j = 0; j < 3; ++j) block_sums[warp * 3 + j] = sum[j];
#pragma unroll
    for (int j = 0; j < LEVELS; ++j) block_counts[warp * LEVELS + j] = count[j];
  }
  __syncthreads();
  const long long slot = b * gridDim.y + blockIdx.y;
  if (threadIdx.x < 3) {
    real all = 0;
    for (int s = 0; s < num_warps; ++s) all += block_sums[s * 3 + threadIdx.x];
    sums[slot * 3 + threadIdx.x] = all;
  } else if (threadIdx.x < 3 + LEVELS) {
    int all = 0;
    for (int s = 0; s < num_warps; ++s) all += block_counts[s * LEVELS + threadIdx.x - 3];
    counts[slot * LEVELS + threadIdx.x - 3] = all;
  }
}

// Weights (cells, n) of the cells from `first` on; grid (cells, slices).
extern "C" __global__ void __launch_bounds__(WARP* MAX_WARPS)
    weights(const real* rows, const real* scale, const real* constants, int n, const real* theta,
            const real* U, const real* reference, long long first, real* w) {
  __shared__ Cell cell;
  const Problem q = {rows, scale, constants, n};
  const long long row = blockIdx.x, b = first + row;
  load_cell(cell, q, theta + b * P, U + b * 2 * D);
  const Logit top = {reference[3 * b], reference[3 * b + 1]};
  const real shift = log(reference[3 * b + 2]);
  const int size = (n + (int)gridDim.y - 1) / (int)gridDim.y;
  const int start = (int)blockIdx.y * size, end = start + size < n ? start + size : n;
  real z[P + 1], log_w0;
  for (int i = start + (int)threadIdx.x; i < end; i += blockDim.x) {
    load_row(q, i, z, log_w0);
    w[row * n + i] = exp(difference(split_logit(cell, z, log_w0), top) - shift);
  }
}
