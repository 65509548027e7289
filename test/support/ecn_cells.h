// RFC 6040, figure 4: the ECN field of a packet that leaves a tunnel, by the inner and the outer one. Not-ECT 0, ECT(1)
// 1, ECT(0) 2, CE 3. Plain values.
#pragma once

namespace isthmus::test {

inline constexpr int kEcnLost = -1;
inline constexpr int kEcnMerged[4][4] = {{0, 0, 0, kEcnLost}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};

}  // namespace isthmus::test
