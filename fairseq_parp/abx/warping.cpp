// Dynamic time warping between every two tokens; distances.py explains it, and has the same in Python.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

struct Way {
    double total, steps;
};

double warped(const double *costs, int64_t stride, int64_t rows, int64_t columns, std::vector<Way> &above) {
    const Way nowhere{std::numeric_limits<double>::infinity(), 0};
    above.assign(columns + 1, nowhere);
    above[0] = {0, 0};
    for (int64_t i = 0; i < rows; ++i) {
        Way diagonal = above[0];
        above[0] = nowhere;
        for (int64_t j = 1; j <= columns; ++j) {
            Way best = diagonal;  // the first of equal ones: both, then the row's token, then the column's
            if (above[j].total < best.total) best = above[j];
            if (above[j - 1].total < best.total) best = above[j - 1];
            diagonal = above[j];
            above[j] = {best.total + costs[i * stride + j - 1], best.steps + 1};
        }
    }
    return above[columns].total / above[columns].steps;
}

}  // namespace

extern "C" {

uint32_t parp_source() { return PARP_SOURCE; }

// angles: (frames, frames); ends: (tokens + 1), where each token's frames begin; found: (tokens, tokens).
void parp_warp(const double *angles, int64_t frames, const int64_t *ends, int64_t tokens, double *found) {
    std::vector<Way> row;
    for (int64_t one = 0; one < tokens; ++one)
        for (int64_t other = one + 1; other < tokens; ++other)
            found[one * tokens + other] = found[other * tokens + one] =
                warped(angles + ends[one] * frames + ends[other], frames, ends[one + 1] - ends[one],
                       ends[other + 1] - ends[other], row);
}
}
