// The kernels as plain C++: one fiber per thread of a block, switched wherever CUDA threads may meet.
//
// Between two meetings a fiber runs alone, forwards (thread 0 first) or backwards, so that whatever
// relies on luck comes out differently in the two orders. Shared memory holds NaN when a block
// starts. A round in which no fiber gets on is a deadlock, and so many rounds of one block that they
// reach the limit are too many. -DKERNELS= names the source.

#include <csetjmp>
#include <cmath>
#include <cstring>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(x)
#define __shared__ static __attribute__((section("shared_memory")))

extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

struct Place {
  unsigned x, y, z;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

namespace {

enum Verdict { DONE = 0, DEADLOCK = 1, BAD_SHUFFLE = 2, NO_KERNEL = 3, TOO_LONG = 4 };
constexpr int LANES = 32;
constexpr unsigned FULL = 0xffffffffu;
constexpr size_t STACK = 1 << 16;

struct Fiber {
  ucontext_t start;
  jmp_buf state;
  bool has_begun, has_ended;
  long long block_meetings, warp_meetings;
  const long long* arrivals;  // resumed once so many have come
  long long wanted;
};

std::vector<char> stacks;
std::vector<Fiber> fibers;
std::vector<unsigned long long> slots;  // two per thread: the meeting before may still be read
std::vector<long long> warp_arrivals;   // over all meetings: no thread is ever ahead by two
long long block_arrivals;
jmp_buf scheduler;
ucontext_t unused;
int current, verdict;
void (*body)(void**);
void** arguments;

void run_body() {
  body(arguments);
  fibers[current].has_ended = true;
  _longjmp(scheduler, 1);
}

void wait_for(const long long& arrivals, long long wanted) {
  Fiber& self = fibers[current];
  if (arrivals >= wanted) return;
  self.arrivals = &arrivals;
  self.wanted = wanted;
  if (_setjmp(self.state) == 0) _longjmp(scheduler, 1);
}

// The kernels let whole warps meet; anything else is a mistake here.
long long meet_warp(unsigned mask, unsigned long long bits) {
  const long long meeting = ++fibers[current].warp_meetings;
  if (mask != FULL) verdict = BAD_SHUFFLE;
  slots[2 * current + meeting % 2] = bits;
  ++warp_arrivals[current / LANES];
  wait_for(warp_arrivals[current / LANES], LANES * meeting);
  return meeting;
}

template <class T>
T take(unsigned mask, T value, int lane, int width) {
  if (width != LANES) verdict = BAD_SHUFFLE;
  unsigned long long bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  const long long meeting = meet_warp(mask, bits);
  if (lane < 0 || lane >= LANES) return value;
  const int source = current - current % LANES + lane;
  std::memcpy(&value, &slots[2 * source + meeting % 2], sizeof value);
  return value;
}

}  // namespace

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = LANES) {
  return take(mask, value, lane, width);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = LANES) {
  return take(mask, value, (int)threadIdx.x % LANES ^ bits, width);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, int offset, int width = LANES) {
  return take(mask, value, (int)threadIdx.x % LANES + offset, width);
}

static void __syncwarp(unsigned mask = FULL) { meet_warp(mask, 0); }

static void __syncthreads() {
  const long long meeting = ++fibers[current].block_meetings;
  ++block_arrivals;
  wait_for(block_arrivals, meeting * (long long)fibers.size());
}

using std::exp;
using std::fabs;
using std::fma;
using std::ilogb;
using std::log;
using std::scalbn;

#include KERNELS

namespace {

template <class... A, size_t... I>
void unpack(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
  kernel(*static_cast<std::decay_t<A>*>(values[I])...);
}

template <auto kernel>
struct Entry;

template <class... A, void (*kernel)(A...)>
struct Entry<kernel> {
  static void run(void** values) { unpack(kernel, values, std::index_sequence_for<A...>()); }
  static constexpr int num_arguments = sizeof...(A);
};

struct Named {
  const char* name;
  void (*run)(void**);
  int num_arguments;
};

#define ENTRY(kernel) {#kernel, Entry<kernel>::run, Entry<kernel>::num_arguments}
const Named ENTRIES[] = {ENTRY(march),          ENTRY(partial_moments), ENTRY(finish_step),
                         ENTRY(finish_moments), ENTRY(partial_sums),    ENTRY(weights)};

void resume(int thread) {
  current = thread;
  threadIdx = {(unsigned)thread, 0, 0};
  Fiber& fiber = fibers[thread];
  if (_setjmp(scheduler) != 0) return;
  fiber.arrivals = nullptr;
  if (fiber.has_begun) _longjmp(fiber.state, 1);
  fiber.has_begun = true;
  setcontext(&fiber.start);
}

void run_block(int threads, bool backwards, long long limit) {
  std::memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
  for (int k = 0; k < threads; ++k) {
    Fiber& fiber = fibers[k];
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stacks.data() + k * STACK;
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = &unused;
    makecontext(&fiber.start, run_body, 0);
    fiber.has_begun = fiber.has_ended = false;
    fiber.block_meetings = fiber.warp_meetings = 0;
    fiber.arrivals = nullptr;
    warp_arrivals[k / LANES] = 0;
  }
  block_arrivals = 0;
  bool is_running = true;
  for (long long round = 0; is_running && verdict == DONE; ++round) {
    bool has_moved = is_running = false;
    for (int k = 0; k < threads; ++k) {
      const int thread = backwards ? threads - 1 - k : k;
      const Fiber& fiber = fibers[thread];
      if (fiber.has_ended) continue;
      is_running = true;
      if (fiber.arrivals != nullptr && *fiber.arrivals < fiber.wanted) continue;
      has_moved = true;
      resume(thread);
    }
    if (is_running && !has_moved) verdict = DEADLOCK;
    if (round > limit) verdict = TOO_LONG;
  }
}

}  // namespace

extern "C" int launch(const char* name, int cells, int slices, int threads, int backwards,
                      long long limit, int num_arguments, void** values) {
  const Named* found = nullptr;
  for (const Named& entry : ENTRIES)
    if (std::strcmp(entry.name, name) == 0) found = &entry;
  if (found == nullptr || found->num_arguments != num_arguments) return NO_KERNEL;
  body = found->run;
  arguments = values;
  verdict = DONE;
  blockDim = {(unsigned)threads, 1, 1};
  gridDim = {(unsigned)cells, (unsigned)slices, 1};
  stacks.resize(threads * STACK);
  fibers.resize(threads);
  slots.resize(2 * threads);
  warp_arrivals.resize(threads / LANES);
  for (int k = 0; k < cells * slices && verdict == DONE; ++k) {
    const int block = backwards ? cells * slices - 1 - k : k;
    blockIdx = {(unsigned)(block % cells), (unsigned)(block / cells), 0};
    run_block(threads, backwards, limit);
  }
  return verdict;
}
