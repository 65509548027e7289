#include "dataplane/path/path.h"

#include "dataplane/path/context.h"
#include "dataplane/path/fragments.h"

namespace isthmus {

void run_path(PathContext& context, Burst& burst) noexcept {
  parse(context, burst);
  do {
    lookup(context, burst);
    forward(context, burst);
    decide(context, burst);
  } while (context.replayed != kNoPlace && take_replayed(context, burst));
}

}  // namespace isthmus
