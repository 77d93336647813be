#include "engine/sequence_clock.h"

#include <gtest/gtest.h>

namespace gale {
namespace {

using std::chrono::milliseconds;

SequenceTime stamped(SequenceClock& clock, RequestId id, std::optional<FinishReason> finish = std::nullopt) {
  std::vector<SequenceOutput> outputs{{.id = id, .tokens = {7}, .finish = finish}};
  clock.stamp(outputs);
  return outputs.front().time;
}

TEST(SequenceClock, tells_each_piece_of_time_once) {
  FakeClock time;
  SequenceClock clock(time);
  const RequestId id{1};
  clock.note_arrival(id);
  time.advance(milliseconds(30));
  clock.note_admission(id);
  time.advance(milliseconds(200));
  EXPECT_EQ(stamped(clock, id), (SequenceTime{.waiting_us = 30'000, .running_us = 200'000}));
  time.advance(milliseconds(5));
  EXPECT_EQ(stamped(clock, id, FinishReason::kStop), (SequenceTime{.waiting_us = 0, .running_us = 5'000}));
  EXPECT_EQ(clock.size(), 0U);
}

TEST(SequenceClock, counts_waiting_after_a_preemption_as_running) {
  FakeClock time;
  SequenceClock clock(time);
  const RequestId id{1};
  clock.note_arrival(id);
  clock.note_admission(id);
  time.advance(milliseconds(10));
  clock.note_admission(id);
  time.advance(milliseconds(10));
  EXPECT_EQ(stamped(clock, id), (SequenceTime{.waiting_us = 0, .running_us = 20'000}));
}

TEST(SequenceClock, knows_nothing_of_what_never_ran) {
  FakeClock time;
  SequenceClock clock(time);
  clock.note_arrival({1});
  time.advance(milliseconds(10));
  EXPECT_EQ(stamped(clock, {1}, FinishReason::kCancelled), SequenceTime{});
  EXPECT_EQ(stamped(clock, {2}), SequenceTime{});
  EXPECT_EQ(clock.size(), 0U);
}

}  // namespace
}  // namespace gale
