// Of kernel, process, CPUs, clock and unit.
#include <dirent.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <memory>

#include "config/files/read_file.h"
#include "control/doctor/gather.h"

namespace isthmus {
namespace {

constexpr std::size_t kMostProcessBytes = std::size_t{4} << 20;
// In the order in which the first one counts.
constexpr const char* kUnitFolders[] = {
    "/etc/systemd/system.control",   "/run/systemd/system.control", "/etc/systemd/system", "/run/systemd/system",
    "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",     "/lib/systemd/system"};

std::string proc_text(const std::string& path) {
  const auto text = read_file(path, kMostProcessBytes);
  return text ? *text : std::string();
}

// The first line, without its end.
std::string word_of(const std::string& path) {
  const std::string text = proc_text(path);
  return text.substr(0, text.find('\n'));
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), closedir);
  while (const dirent* entry = open == nullptr ? nullptr : readdir(open.get())) {
    names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

KernelFacts read_kernel() {
  KernelFacts kernel;
  utsname names{};
  if (uname(&names) == 0) {
    kernel.release = names.release;
  }
  kernel.btf = access("/sys/kernel/btf/vmlinux", F_OK) == 0;
  struct statfs system {};
  kernel.bpf_folder = statfs("/sys/fs/bpf", &system) == 0 && system.f_type == BPF_FS_MAGIC;
  kernel.bpf_own_folder = access("/sys/fs/bpf/isthmus", F_OK) == 0 ? Availability::kYes
                          : errno == ENOENT                        ? Availability::kNo
                                                                   : Availability::kUnseen;
  const int socket = ::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  kernel.af_xdp = socket >= 0                                         ? Availability::kYes
                  : errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT ? Availability::kNo
                                                                      : Availability::kUnseen;
  if (socket >= 0) {
    close(socket);
  }
  return kernel;
}

ProcessFacts read_process() {
  ProcessFacts process;
  process.root = geteuid() == 0;
  const std::string status = proc_text("/proc/self/status");
  process.capabilities = read_line_mask(status, "CapEff").value_or(0);
  process.bounding = read_line_mask(status, "CapBnd").value_or(process.bounding);
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    process.memlock = limit.rlim_cur;
  }
  return process;
}

struct UnitFile {
  std::string text;
  bool masked = false;  // a link to /dev/null, or empty
};

// The unit of that name in the first folder that has it; nullopt: none has.
std::optional<UnitFile> find_unit(const std::string& name) {
  for (const char* folder : kUnitFolders) {
    const std::string path = std::string(folder) + "/" + name;
    std::error_code ignored;
    if (std::filesystem::read_symlink(path, ignored) == "/dev/null") {
      return UnitFile{{}, true};
    }
    if (std::filesystem::exists(path, ignored)) {
      std::string text = proc_text(path);
      const bool empty = text.empty() && std::filesystem::is_empty(path, ignored);
      return UnitFile{std::move(text), empty};
    }
  }
  return std::nullopt;
}

// "isthmus@.service", where the unit is one of a template.
std::string template_of(const std::string& unit) {
  const auto at = unit.find('@');
  return at == std::string::npos ? unit : unit.substr(0, at + 1) + ".service";
}

// The unit's own file, else that of its template.
std::optional<UnitFile> find_service(const std::string& unit) {
  auto file = find_unit(unit);
  return file ? file : find_unit(template_of(unit));
}

ServiceFacts read_service(const std::string& unit, const std::optional<UnitFile>& file) {
  if (!file || file->text.empty()) {
    return std::nullopt;
  }
  std::vector<std::string> texts = {file->text};
  std::map<std::string, std::string> parts;  // by name: of two of one name the first counts
  for (const std::string& name : {unit, template_of(unit), std::string("service")}) {
    for (const char* folder : kUnitFolders) {
      const std::string parts_folder = std::string(folder) + "/" + name + ".d";
      for (const std::string& part : names_in(parts_folder)) {
        if (part.ends_with(".conf")) {
          parts.try_emplace(part, proc_text(parts_folder + "/" + part));
        }
      }
    }
  }
  for (const auto& [name, text] : parts) {
    texts.push_back(text);
  }
  return read_service_section(texts);
}

bool process_runs(const std::string& name) {
  for (const std::string& number : names_in("/proc")) {
    if (number.find_first_not_of("0123456789") == std::string::npos && word_of("/proc/" + number + "/comm") == name) {
      return true;
    }
  }
  return false;
}

CpuFacts read_cpu_facts() {
  CpuFacts facts;
  facts.cpus = read_cpus();
  const std::string folder = cgroup_folder();
  facts.cgroup = read_cpu_list(proc_text(folder + "/cpuset.cpus.effective"));
  facts.quota = read_cpu_quota(proc_text(folder + "/cpu.max"));
  facts.isolated = read_cpu_list(proc_text("/sys/devices/system/cpu/isolated"));
  for (const int cpu : facts.cpus.online) {
    const std::string governor =
        word_of("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpufreq/scaling_governor");
    if (!governor.empty()) {
      facts.governors[cpu] = governor;
    }
  }
  facts.irqbalance = process_runs("irqbalance");
  return facts;
}

Availability read_clock() {
  timex clock{};
  const int state = adjtimex(&clock);  // no modes: nothing is set
  return state < 0                                                 ? Availability::kUnseen
         : state == TIME_ERROR || (clock.status & STA_UNSYNC) != 0 ? Availability::kNo
                                                                   : Availability::kYes;
}

}  // namespace

void read_system_facts(Facts& facts) {
  facts.kernel = read_kernel();
  facts.process = read_process();
  std::error_code ignored;
  facts.unit = unit_of(std::filesystem::absolute(facts.file, ignored).lexically_normal().string());
  const auto file = find_service(facts.unit);
  facts.unit_masked = file && file->masked;
  facts.service = read_service(facts.unit, file);
  const auto bpf = find_unit("isthmus-bpf.service");
  facts.bpf_unit = bpf && !bpf->masked;
  facts.cpu = read_cpu_facts();
  facts.clock_synchronised = read_clock();
}

}  // namespace isthmus
