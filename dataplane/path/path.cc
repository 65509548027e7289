#include "dataplane/path/path.h"

#include "dataplane/path/context.h"
#include "dataplane/path/fragments.h"
#include "dataplane/path/host.h"

namespace isthmus {

void run_path(PathContext& context, Burst& burst) noexcept {
  if ((context.shared.shares_with_host >> burst.device.value() & 1) != 0 && !begin_shared(context, burst)) {
    return;
  }
  parse(context, burst);
  do {
    lookup(context, burst);
    forward(context, burst);
    decide(context, burst);
    context.host.rules = nullptr;  // fragments that have waited are ours
  } while (context.replayed != kNoPlace && take_replayed(context, burst));
}

}  // namespace isthmus
