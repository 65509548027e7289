// What an engine hands over (dataplane/api/handed_over.h) as a message: a memory file that describes it, and its
// descriptors. Words in this machine's byte order: it never leaves it. Failure: an error, whatever the words are.
#pragma once

#include "control/handover/channel.h"

namespace isthmus {

// Part of every hello: engines of another version are not handed over.
inline constexpr unsigned kHandOverVersion = 2;

[[nodiscard]] Status send_engine(HandOverChannel& channel, const HandedEngine& engine);
// `first` is the message of kind state; what follows it is read by `until`.
[[nodiscard]] Result<HandedEngine> receive_engine(HandOverChannel& channel, HandOverMessage first,
                                                  HandOverChannel::Clock::time_point until);

}  // namespace isthmus
