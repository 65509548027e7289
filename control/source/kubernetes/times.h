// All timeouts of the Kubernetes sources; the same as in client-go where it has them. Plain values, so that tests can
// shorten them.
#pragma once

#include <chrono>

namespace isthmus {

struct ApiTimes {
  using Milliseconds = std::chrono::milliseconds;

  Milliseconds connect{10'000};       // TCP and TLS together, per address
  Milliseconds response{70'000};      // from the request to its response's head: a server's own limit is 60 s
  Milliseconds list_idle{60'000};     // between two pieces of a list
  Milliseconds watch_idle{150'000};   // without an event or bookmark the connection counts as broken
  Milliseconds stream_list{120'000};  // a streamed list that takes longer is replaced by a paged one
  Milliseconds watch_min{300'000};    // timeoutSeconds is drawn from [watch_min, watch_max]
  Milliseconds watch_max{600'000};
  Milliseconds backoff_first{800};  // doubles up to backoff_max, plus up to as much again at random
  Milliseconds backoff_max{30'000};
  Milliseconds unavailable{60'000};   // after 404, which only an administrator can fix; the most after a 403
  Milliseconds stable{2'000};         // a watch that lasted this long ended normally, whatever ended it
  Milliseconds user_timeout{30'000};  // TCP_USER_TIMEOUT
  Milliseconds token_reload{50'000};  // age at which a token file is read again
  Milliseconds exec{60'000};          // a credential program is killed after this
  Milliseconds exec_leeway{10'000};   // credentials count as expired this long before they are
};

}  // namespace isthmus
