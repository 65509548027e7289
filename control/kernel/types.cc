#include "control/kernel/types.h"

namespace isthmus {

std::string ForeignRoute::text() const {
  return prefix.to_string() + " via " + (interface.empty() ? "no interface" : interface) + " (" + protocol +
         ", metric " + std::to_string(metric) + ") takes precedence over the gateway's own route";
}

}  // namespace isthmus
