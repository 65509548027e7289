// Messages between a gateway that runs and the one that takes over from it: a kind, a text, and file descriptors, over
// a Unix socket (SOCK_SEQPACKET). Either end is a process of the same user; the kernel says so (SO_PEERCRED), not the
// message.
//
// successor      predecessor
// hello     →                  its own parameters, one line each
//           ←    welcome       they fit: the last known state is the successor's now; what is known of peers
//           ←    different     they do not: the predecessor can only be stopped
//           ←    refused       it is another gateway, or somebody else takes over: leave it alone
// give      →                  the workers stop; its text "dropped": frames that wait for a neighbour are dropped
//           ←    busy          they run on: with what cannot be handed over now
//           ←    state         the description, then descriptors (codec.h); the workers stand
//           ←    more          more descriptors
//           ←    late          no answer came in time: the workers run on
// taken     →                  from here on rings, frames and table are the successor's
// serving   →                  its workers run, its programs are on the interfaces
// stop      →                  instead of give, or taken: the predecessor ends its service
//           ←    gone          nothing of the predecessor is in use any more; what it knew of peers at last
//
// Where the connection ends before `taken`, the predecessor goes on as if nothing had been asked.
// Thread: one at a time. Failure: an error, or nothing where the other end has closed.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/handed_over.h"
#include "dataplane/api/types.h"

namespace isthmus {

enum class HandOverKind : std::uint8_t {
  kHello = 1,
  kWelcome,
  kDifferent,
  kRefused,
  kGive,
  kBusy,
  kState,
  kMore,
  kLate,
  kTaken,
  kServing,
  kStop,
  kGone
};

struct HandOverMessage {
  HandOverKind kind = HandOverKind::kHello;
  std::string text;
  std::vector<UniqueFd> descriptors;
};

class HandOverChannel {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMaxText = 16'384;
  static constexpr std::size_t kMaxDescriptors = 200;  // in a message: the kernel takes 253

  explicit HandOverChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const { return socket_.get(); }
  // The other end's, as the kernel noted them when it connected.
  struct Peer {
    int process = 0;
    std::uint32_t user = 0;
  };
  [[nodiscard]] std::optional<Peer> peer() const;
  // False: the other end has closed, or takes nothing.
  [[nodiscard]] bool send(HandOverKind kind, std::string_view text = {}, const std::vector<int>& descriptors = {});
  // nullopt: the other end has closed, sends what is no message, or nothing by `until`. `also`: a descriptor that ends
  // the wait, too, when it is readable.
  [[nodiscard]] std::optional<HandOverMessage> receive(std::optional<Clock::time_point> until, int also = -1);
  // What has arrived; nothing arrives after it: the other end's next send() fails.
  [[nodiscard]] std::optional<HandOverMessage> last();
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  [[nodiscard]] std::optional<HandOverMessage> read();

  UniqueFd socket_;
  bool closed_ = false;
};

// The address of the Unix socket at `path`; an error names the path.
[[nodiscard]] Result<UniqueFd> connect_hand_over(const std::string& path);
[[nodiscard]] Result<UniqueFd> listen_hand_over(const std::string& path);

}  // namespace isthmus
