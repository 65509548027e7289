#include "control/kernel/types.h"

namespace isthmus {

std::string ForeignRoute::text() const {
  return prefix.to_string() + " by way of " + (interface.empty() ? "nothing" : interface) + " (" + protocol +
         ", metric " + std::to_string(metric) + ") stands in the way of the gateway's own route";
}

}  // namespace isthmus
