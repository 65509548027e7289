// Finds and loads the module: only a gateway with a DPDK device needs DPDK's libraries.
#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "dataplane/io/dpdk/module.h"

namespace isthmus {
namespace {

constexpr const char* kModule = "isthmus-dpdk.so";

// As it is installed, and as it is built.
std::vector<std::string> module_places() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::string> places;
  for (const char* folder : {"../lib/isthmus", "../../dataplane", "../../../dataplane", "../../../../dataplane"}) {
    places.push_back((program / folder / kModule).lexically_normal());
  }
  return places;
}

Result<const DpdkModule*> load() {
  for (const std::string& place : module_places()) {
    std::error_code error;
    if (!std::filesystem::exists(place, error)) {
      continue;
    }
    void* const library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      return Error{std::string("cannot load the module for DPDK: ") + dlerror(), place,
                   "install DPDK's libraries: `apt-get install librte-eal23 librte-ethdev23 librte-meta-net`"};
    }
    const auto symbol = reinterpret_cast<const DpdkModule* (*)()>(dlsym(library, kDpdkModuleSymbol));
    const DpdkModule* const module = symbol == nullptr ? nullptr : symbol();
    if (module == nullptr || module->abi != kDpdkModuleAbi || module->layout != dpdk_module_layout() ||
        std::string(module->version) != ISTHMUS_VERSION) {
      return Error{"the module for DPDK is of another version than the program", place,
                   "install the isthmus-dpdk of the same version"};
    }
    return module;
  }
  return Error{std::string("there is no module ") + kModule + ", which DPDK devices need", "devices",
               "install the package isthmus-dpdk, or use an interface with AF_XDP"};
}

// Once, and for good.
const Result<const DpdkModule*>& loaded() {
  static const Result<const DpdkModule*> module = load();
  return module;
}

}  // namespace

Status load_dpdk_module() {
  const Result<const DpdkModule*>& module = loaded();
  return module ? Status(Ok{}) : Status(module.error());
}

Result<std::unique_ptr<Device>> open_dpdk(const DpdkOptions& options) {
  const Result<const DpdkModule*>& module = loaded();
  if (!module) {
    return module.error();
  }
  return (*module)->open(options);
}

}  // namespace isthmus
