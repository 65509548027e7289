#include "dataplane/io/dpdk/eal.h"

#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>

#include <cstdio>
#include <fstream>
#include <mutex>
#include <optional>
#include <vector>

namespace isthmus {
namespace {

constexpr std::size_t kLogBytes = 2048;  // that are kept

struct Log {
  std::mutex mutex;  // DPDK's own threads write, too
  std::string text;
};
Log& dpdk_log() {
  static Log log;
  return log;
}

ssize_t write_log(void* /*cookie*/, const char* bytes, std::size_t count) {
  Log& log = dpdk_log();
  const std::lock_guard lock(log.mutex);
  log.text.append(bytes, count);
  if (log.text.size() > kLogBytes) {
    log.text.erase(0, log.text.size() - kLogBytes);
  }
  return static_cast<ssize_t>(count);
}

void keep_log() {
  cookie_io_functions_t functions{};
  functions.write = write_log;
  if (FILE* stream = fopencookie(nullptr, "w", functions); stream != nullptr) {
    setvbuf(stream, nullptr, _IOLBF, 0);
    static_cast<void>(rte_openlog_stream(stream));
  }
}

// Huge pages of any size that nobody has in use.
bool has_free_huge_pages() {
  for (const char* size : {"2048", "1048576"}) {
    std::ifstream file("/sys/kernel/mm/hugepages/hugepages-" + std::string(size) + "kB/free_hugepages");
    unsigned long count = 0;
    if (file >> count && count > 0) {
      return true;
    }
  }
  return false;
}

int first_allowed_cpu(const cpu_set_t& allowed) {
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) {
      return cpu;
    }
  }
  return 0;
}

Error no_huge_pages(const DpdkMemory& memory) {
  constexpr auto kReserve =
      "reserve some: `sysctl vm.nr_hugepages=512`, for good in /etc/sysctl.d/; `isthmus doctor` says how many";
  constexpr auto kWhere = "engine.dpdk.huge_pages";
  switch (memory.pages) {
    case DpdkPages::kOrdinary:
      return {"a NIC needs memory that stays where it is, huge pages, and the configuration wants none", kWhere,
              "leave out engine.dpdk.huge_pages: none"};
    case DpdkPages::kHuge:
      return {"no huge pages are free, and the configuration requires them", kWhere, kReserve};
    case DpdkPages::kAuto:
      break;
  }
  return {"no huge pages are free, and a NIC needs memory that stays where it is", kWhere, kReserve};
}

Status initialize(const DpdkMemory& memory, bool physical) {
  const bool huge = memory.pages != DpdkPages::kOrdinary && has_free_huge_pages();
  if (!huge && (physical || memory.pages == DpdkPages::kHuge)) {
    return no_huge_pages(memory);
  }
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed);
  std::vector<std::string> words{"isthmus",
                                 "--no-telemetry",
                                 "--log-level=*:warning",
                                 "--lcores=0@" + std::to_string(first_allowed_cpu(allowed)),
                                 "-m",
                                 std::to_string(memory.megabytes)};
  // Nothing of the bus is taken by itself: devices are asked for one by one, and this address is nobody's.
  words.insert(words.end(), {physical ? "--allow=0000:00:00.0" : "--no-pci"});
  if (huge) {
    words.insert(words.end(), {"--in-memory"});
  } else {
    words.insert(words.end(), {"--no-huge", "--no-shconf"});
  }
  if (!physical) {
    words.insert(words.end(), {"--iova-mode=va"});
  }
  std::vector<char*> arguments;
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  keep_log();
  const int started = rte_eal_init(static_cast<int>(arguments.size()), arguments.data());
  const int error = rte_errno;
  pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
  if (started < 0) {
    return Error{
        "DPDK does not start: " + std::string(rte_strerror(error)) + "; it says: " + take_dpdk_log(), "engine.dpdk",
        huge ? "give it less memory (engine.dpdk.memory_mb), reserve more huge pages, or end what else uses them"
             : "give it more memory (engine.dpdk.memory_mb), and see that the process may map it"};
  }
  static_cast<void>(take_dpdk_log());
  return Ok{};
}

}  // namespace

Status start_eal(const DpdkMemory& memory, bool physical) {
  struct Started {
    DpdkMemory memory;
    bool physical = false;
    Status result{Ok{}};
  };
  static std::optional<Started> started;
  if (!started) {
    started = Started{memory, physical, initialize(memory, physical)};
  }
  if (started->result && (memory != started->memory || (physical && !started->physical))) {
    return Error{"DPDK runs already with other memory, or without the PCI bus", "engine.dpdk",
                 "name devices of the PCI bus first, and give all devices the same memory"};
  }
  return started->result;
}

std::string take_dpdk_log() {
  Log& log = dpdk_log();
  const std::lock_guard lock(log.mutex);
  std::string text = std::move(log.text);
  log.text.clear();
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) {
    text.replace(at, 1, at + 1 == text.size() ? "" : "; ");
  }
  return text;
}

}  // namespace isthmus
