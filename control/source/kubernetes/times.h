// Every time limit of the Kubernetes source, as client-go has them where it has one. Plain values, so that tests can
// shorten them.
#pragma once

#include <chrono>

namespace isthmus {

struct ApiTimes {
  using Milliseconds = std::chrono::milliseconds;

  Milliseconds connect{10'000};       // TCP and TLS together, per address
  Milliseconds answer{60'000};        // from the request to the head of the answer
  Milliseconds list_idle{60'000};     // within an answer that ends by itself
  Milliseconds watch_idle{150'000};   // neither event nor bookmark: the connection is taken for half-open
  Milliseconds stream_list{120'000};  // a streaming list that does not end is given up for a paged one
  Milliseconds watch_least{300'000};  // timeoutSeconds is drawn between this
  Milliseconds watch_most{600'000};   // and this
  Milliseconds backoff_first{800};    // doubles up to the next, with up to as much again at random
  Milliseconds backoff_most{30'000};
  Milliseconds refused{60'000};       // 403 and 404: what an administrator mends
  Milliseconds steady{2'000};         // a watch that lived so long is no failure, whatever ended it
  Milliseconds user_timeout{30'000};  // TCP_USER_TIMEOUT
  Milliseconds token_reread{50'000};  // age at which a token file is read again
  Milliseconds exec{60'000};          // a credential program is killed after this
  Milliseconds exec_leeway{10'000};   // credentials count as expired so long before they are
};

}  // namespace isthmus
