#include "dataplane/path/path.h"
#include "dataplane/path/context.h"

namespace isthmus {

void run_path(PathContext& context, Burst& burst) noexcept {
  parse(context, burst);
  decap(context, burst);
  lookup(context, burst);
  admit(context, burst);
  send(context, burst);
}

}  // namespace isthmus
