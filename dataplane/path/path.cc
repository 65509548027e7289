#include "dataplane/path/path.h"

#include "dataplane/path/context.h"

namespace isthmus {

void run_path(PathContext& context, Burst& burst) noexcept {
  parse(context, burst);
  lookup(context, burst);
  forward(context, burst);
  decide(context, burst);
}

}  // namespace isthmus
