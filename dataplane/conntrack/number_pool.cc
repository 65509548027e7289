#include "dataplane/conntrack/number_pool.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace isthmus {

NumberPool::NumberPool(std::uint32_t count, unsigned workers, Quiescence& quiescence, const std::vector<bool>& used)
    : count_(count),
      batch_(std::clamp<std::uint32_t>(count / (8 * workers), 1, 64)),
      quiescence_(quiescence),
      caches_(std::make_unique<Cache[]>(workers)),
      stack_(std::make_unique<std::uint32_t[]>(count)) {
  for (unsigned worker = 0; worker < workers; ++worker) {
    caches_[worker].open.numbers = std::make_unique_for_overwrite<std::uint32_t[]>(count);
    caches_[worker].closing.numbers = std::make_unique_for_overwrite<std::uint32_t[]>(count);
  }
  std::uint32_t depth = 0;
  for (std::uint32_t number = count; number > 0; --number) {
    if (!used[number]) {
      stack_[depth++] = number;
    }
  }
  depth_.store(depth, std::memory_order_relaxed);
}

std::uint32_t NumberPool::allocate_refilled(WorkerId worker) noexcept {
  Cache& cache = caches_[worker.value()];
  if (!refill(cache)) {
    collect(worker);
    if (cache.size == 0 && !refill(cache)) {
      return 0;
    }
  }
  return cache.numbers[--cache.size];
}

void NumberPool::release(WorkerId worker, std::uint32_t number) noexcept { push(caches_[worker.value()], number); }

void NumberPool::retire(WorkerId worker, std::uint32_t number) noexcept {
  assert(number >= 1 && number <= count_);
  Retired& open = caches_[worker.value()].open;
  assert(open.size < count_);
  open.numbers[open.size++] = number;
}

void NumberPool::collect(WorkerId worker) noexcept {
  Cache& cache = caches_[worker.value()];
  if (cache.closing.size != 0) {
    if (!quiescence_.passed(cache.closing.ticket)) {
      return;
    }
    while (cache.closing.size != 0) {
      push(cache, cache.closing.numbers[--cache.closing.size]);
    }
  }
  if (cache.open.size != 0) {
    std::swap(cache.open, cache.closing);
    cache.closing.ticket = quiescence_.advance();
  }
}

bool NumberPool::refill(Cache& cache) noexcept {
  lock_.take();
  const std::uint32_t depth = depth_.load(std::memory_order_relaxed);
  const std::uint32_t taken = std::min(depth, batch_);
  for (std::uint32_t i = 0; i < taken; ++i) {  // keeps the order of the stack
    cache.numbers[cache.size + taken - 1 - i] = stack_[depth - 1 - i];
  }
  cache.size += taken;
  depth_.store(depth - taken, std::memory_order_relaxed);
  lock_.release();
  return taken != 0;
}

void NumberPool::spill(Cache& cache, std::uint32_t keep) noexcept {
  lock_.take();
  std::uint32_t depth = depth_.load(std::memory_order_relaxed);
  while (cache.size > keep) {
    stack_[depth++] = cache.numbers[--cache.size];
  }
  depth_.store(depth, std::memory_order_relaxed);
  lock_.release();
}

void NumberPool::push(Cache& cache, std::uint32_t number) noexcept {
  assert(number >= 1 && number <= count_);
  if (cache.size == 2 * batch_) {
    spill(cache, batch_);
  }
  cache.numbers[cache.size++] = number;
}

}  // namespace isthmus
