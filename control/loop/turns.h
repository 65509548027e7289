// Whose turn it is with what control decides by (model and compiler): one turn after the other, each in up to three
// parts. `prepare` and `done` run on the loop; `work` runs between them on a thread of its own, while the loop goes on
// with everything else.
//
// What the turns share needs no lock: while work is under way it is the thread's, otherwise the loop's. A turn that is
// taken within a part of another comes after it. Owner: control/daemon. Thread: the loop's, but for ask_loop().
// Failure: start() returns it; the parts must not throw.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "control/loop/event_loop.h"

namespace isthmus {

class Turns {
 public:
  using Part = std::function<void()>;
  struct Turn {
    Part prepare{}, work{}, done{};  // each may be empty
  };

  // The loop must outlive this. Not while the loop runs on another thread.
  explicit Turns(EventLoop& loop);
  // Waits for the work under way. Turns that have not begun are dropped.
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Starts the thread; comes before everything else. With all signals blocked there.
  [[nodiscard]] Status start();
  // At once where no other is under way.
  void take(Turn turn);
  // When nothing else waits, also of what is taken later.
  void take_last(Turn turn);
  // As take(), for what needs no thread.
  void take(Part on_loop) { take(Turn{std::move(on_loop), {}, {}}); }
  // What the turns share is the thread's now.
  [[nodiscard]] bool working() const;
  // Waits for the work under way and leaves out its `done`: for who goes away that the work, or it, refers to.
  void wait();
  // From within `work`: runs `action` on the loop and returns when it is done. It must not take a turn.
  void ask_loop(const Part& action);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // also of what is posted to the loop
};

}  // namespace isthmus
