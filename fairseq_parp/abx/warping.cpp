// Dynamic time warping between the tokens of two sets; distances.py explains it, and has the same in Python.

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

// angles: (row frames, column frames); down (rows + 1) and right (columns + 1): where each token's frames begin;
// found: (rows, columns).
void parp_warp(const double *angles, const int64_t *down, int64_t rows, const int64_t *right, int64_t columns,
               double *found) {
    std::vector<Way> above;
    const int64_t stride = right[columns];
    for (int64_t one = 0; one < rows; ++one)
        for (int64_t other = 0; other < columns; ++other)
            found[one * columns + other] = warped(angles + down[one] * stride + right[other], stride,
                                                  down[one + 1] - down[one], right[other + 1] - right[other], above);
}
}
