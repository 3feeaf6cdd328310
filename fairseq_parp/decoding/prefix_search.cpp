// The prefix beam search of prefix_beam.py, lattice.py and forward.py, which explain it; compiled.py calls this one.
//
// A prefix is a node of a tree that holds every prefix that ever was a beam, so that nothing rests on hashes. What the
// survivors have in common is summed once: the paths up to a label depend on nothing that follows it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <vector>

namespace {

// These are in decoder.py and forward.py as well; a test compares them.
constexpr double STEPS_PER_NAT = 1 << 20, MIN_TOTAL = -1300, MIN_SYMBOL = -690;
constexpr int CHUNK = 64, TOP = 900, MAX_AT_ONCE = 1000;

constexpr double NEG_INF = -std::numeric_limits<double>::infinity(), LOG_2 = 0.693147180559945309417;

double logaddexp(double one, double other) {
    const double high = std::max(one, other), low = std::min(one, other);
    return low == NEG_INF ? high : high + std::log1p(std::exp(low - high));
}

struct Emissions {
    const double *log_probs;  // (frames, symbols)
    int64_t frames, symbols, blank;
    const double *operator[](int64_t t) const { return log_probs + t * symbols; }
};

struct Ranked {
    double rank;
    int64_t place;  // decides between equals, so that no two are
    bool operator<(const Ranked &other) const {
        return rank != other.rank ? rank > other.rank : place < other.place;
    }
};

double comparable(double log_prob) { return std::rint(log_prob * STEPS_PER_NAT); }

void keep_best(std::vector<Ranked> &candidates, size_t most) {
    if (most < candidates.size()) {
        std::nth_element(candidates.begin(), candidates.begin() + most, candidates.end());
        candidates.resize(most);
    }
    std::sort(candidates.begin(), candidates.end());
}

struct Node {
    int64_t parent, label;          // the prefix without its last label, and that; of the empty one, -1 and the blank
    int64_t place = -1;             // among the beams; -1 if it is none at the moment
    int64_t child = -1, next = -1;  // the last child that was added; its parent's child that was added before it
};

struct Beam {
    int64_t node;
    double ends_blank, ends_label;  // log-probabilities of the paths that end in a blank, and in the last label
};

// Which prefixes survive. Parents stand before their children in the tree.
class Search {
public:
    std::vector<Node> tree;
    std::vector<Beam> beams;  // best first

    Search(const Emissions &emissions, size_t most, double token_min_logp, double beam_prune_logp)
        : tree{{-1, emissions.blank}}, beams{{0, 0.0, NEG_INF}}, blank(emissions.blank), most(most),
          token_min_logp(token_min_logp), beam_prune_logp(beam_prune_logp), read(emissions.symbols),
          column(emissions.symbols) {
        tree[0].place = 0;
        bool was_certain = false;
        for (int64_t t = 0; t < emissions.frames && !beams.empty(); t++) {
            take(emissions[t]);
            const bool certain = grow.empty() && read[blank] > NEG_INF;
            if (certain) read[blank] = 0.0;           // what all pay alike decides nothing
            if (!certain || !was_certain) advance();  // a second certain blank adds nothing
            was_certain = certain;
        }
    }

private:
    const int64_t blank;
    const size_t most;
    const double token_min_logp, beam_prune_logp;
    std::vector<double> read;           // one frame without what is pruned
    std::vector<int64_t> grow, column;  // the symbols that a prefix may grow by; where each symbol is there, or -1
    std::vector<Beam> stays, before;    // the beams after the frame, left as they are, and before it
    std::vector<double> scores;         // of each beam left as it is, then of each beam by each symbol
    std::vector<Ranked> candidates;

    void take(const double *frame) {
        const double least = std::min(*std::max_element(frame, frame + read.size()), token_min_logp);
        grow.clear();
        for (int64_t symbol = 0; symbol < static_cast<int64_t>(read.size()); symbol++) {
            read[symbol] = frame[symbol] >= least ? frame[symbol] : NEG_INF;
            column[symbol] = -1;
            if (symbol == blank || read[symbol] == NEG_INF) continue;
            column[symbol] = static_cast<int64_t>(grow.size());
            grow.push_back(symbol);
        }
    }

    void advance() {
        score();
        choose();
        for (const Beam &beam : beams) tree[beam.node].place = -1;
        beams.swap(before);
        beams.clear();
        const int64_t alive = static_cast<int64_t>(before.size()), many = static_cast<int64_t>(grow.size());
        for (const Ranked &kept : candidates) {
            const int64_t longer = kept.place - alive;
            beams.push_back(longer < 0 ? stays[kept.place]
                                       : Beam{child(before[longer / many].node, grow[longer % many]), NEG_INF,
                                              scores[kept.place]});
            tree[beams.back().node].place = static_cast<int64_t>(beams.size()) - 1;
        }
    }

    void score() {
        const size_t alive = beams.size(), many = grow.size();
        scores.resize(alive * (1 + many));
        stays.clear();
        double *longer = scores.data() + alive;
        for (const Beam &beam : beams) {
            const int64_t last = tree[beam.node].label;
            const double total = logaddexp(beam.ends_blank, beam.ends_label);
            stays.push_back({beam.node, total + read[blank], beam.ends_label + read[last]});
            for (size_t j = 0; j < many; j++) longer[j] = total + read[grow[j]];
            // The same label again is a new one only after a blank.
            if (column[last] >= 0) longer[column[last]] = beam.ends_blank + read[last];
            longer += many;
        }
        for (size_t place = 0; place < alive; place++) {
            Beam &beam = stays[place];
            const Node &node = tree[beam.node];
            const int64_t origin = node.parent < 0 ? -1 : tree[node.parent].place;
            if (origin >= 0 && column[node.label] >= 0) {  // what grows into this prefix belongs here
                double &grown = scores[alive + origin * many + column[node.label]];
                beam.ends_label = logaddexp(beam.ends_label, grown);
                grown = NEG_INF;
            }
            scores[place] = logaddexp(beam.ends_blank, beam.ends_label);
        }
    }

    void choose() {
        double best = NEG_INF;
        for (double score : scores) best = std::max(best, score);
        double least = comparable(best) + beam_prune_logp * STEPS_PER_NAT;
        if (beams.size() == most)  // there is no room for what is below all prefixes left as they are
            least = std::max(least, comparable(*std::min_element(scores.begin(), scores.begin() + most)));
        candidates.clear();
        for (size_t place = 0; place < scores.size(); place++) {
            const double rank = comparable(scores[place]);
            if (rank >= least && rank > NEG_INF) candidates.push_back({rank, static_cast<int64_t>(place)});
        }
        keep_best(candidates, most);
    }

    int64_t child(int64_t parent, int64_t label) {
        int64_t node = tree[parent].child;
        while (node >= 0 && tree[node].label != label) node = tree[node].next;
        if (node < 0) {
            node = static_cast<int64_t>(tree.size());
            tree.push_back({parent, label, -1, -1, tree[parent].child});
            tree[parent].child = node;
        }
        return node;
    }
};

// The last label of a prefix; the first state stands for what is before all labels.
struct State {
    int64_t parent, label;
    double at_label, at_blank;  // the paths that end in it, and in the blank after it
    double begun;               // those that first reach it, in the frames since the last time that sums were settled
};

// What sums are made of: probabilities times a power of two, or logarithms.
struct Probabilities {
    static constexpr int POWER = TOP;
    static constexpr double NONE = 0.0;
    static double certain() { return std::ldexp(1.0, POWER); }
    static double read(double log_prob) { return std::exp(log_prob); }
    static double log(double value) { return std::log(value); }
    static double plus(double one, double other) { return one + other; }
    static double times(double one, double other) { return one * other; }
};

struct Logs {
    static constexpr int POWER = 0;
    static constexpr double NONE = NEG_INF;
    static double certain() { return 0.0; }
    static double read(double log_prob) { return log_prob; }
    static double log(double value) { return value; }
    static double plus(double one, double other) { return logaddexp(one, other); }
    static double times(double one, double other) { return one + other; }
};

// What the survivors are worth: sums over all their alignments.
class Sums {
    const Emissions &emissions;

public:
    std::vector<State> states;   // parents before their children
    std::vector<double> begun;   // log-probabilities of first reaching each state
    std::vector<int64_t> ends;   // the states of the survivors
    std::vector<double> scores;  // and their log-probabilities

    Sums(const Emissions &emissions, const Search &search) : emissions(emissions), scores(search.beams.size(), NEG_INF) {
        const std::vector<Node> &tree = search.tree;
        std::vector<int64_t> places(tree.size(), -1);
        for (const Beam &beam : search.beams)
            for (int64_t node = beam.node; node >= 0 && places[node] < 0; node = tree[node].parent) places[node] = 0;
        for (size_t node = 0; node < tree.size(); node++) {
            if (places[node] < 0) continue;
            places[node] = static_cast<int64_t>(states.size());
            states.push_back({node ? places[tree[node].parent] : -1, tree[node].label, 0.0, 0.0, 0.0});
        }
        for (const Beam &beam : search.beams) ends.push_back(places[beam.node]);
        const auto unfit = [](double log_prob) { return log_prob < MIN_SYMBOL && log_prob > NEG_INF; };
        if (std::none_of(emissions.log_probs, emissions[emissions.frames], unfit)) sum<Probabilities>();
        if (!(*std::min_element(scores.begin(), scores.end()) > MIN_TOTAL)) sum<Logs>();
    }

private:
    template <class Kind> void sum() {
        for (State &state : states) state.at_label = state.at_blank = state.begun = Kind::NONE;
        states[0].at_blank = Kind::certain();
        begun.assign(states.size(), NEG_INF);
        begun[0] = 0.0;
        int power = Kind::POWER;
        std::vector<double> frame(emissions.symbols);
        for (int64_t t = 0; t < emissions.frames; t++) {
            std::transform(emissions[t], emissions[t + 1], frame.begin(), Kind::read);
            step<Kind>(frame.data());
            if ((t + 1) % CHUNK == 0 || t + 1 == emissions.frames) power = settle<Kind>(power);
        }
        for (size_t k = 0; k < ends.size(); k++) {
            const State &end = states[ends[k]];
            scores[k] = Kind::log(Kind::plus(end.at_label, end.at_blank)) - power * LOG_2;
        }
    }

    // Read a frame; children go before their parents, which they have to see as they were.
    template <class Kind> void step(const double *frame) {
        const double blank = frame[emissions.blank];
        for (size_t n = states.size() - 1; n > 0; n--) {
            State &state = states[n];
            const State &parent = states[state.parent];
            const double emitted = frame[state.label];
            const double skipped = state.label == parent.label ? Kind::NONE : parent.at_label;
            const double entered = Kind::times(Kind::plus(parent.at_blank, skipped), emitted);
            state.at_blank = Kind::times(Kind::plus(state.at_blank, state.at_label), blank);
            state.at_label = Kind::plus(Kind::times(state.at_label, emitted), entered);
            state.begun = Kind::plus(state.begun, entered);
        }
        states[0].at_blank = Kind::times(states[0].at_blank, blank);
    }

    // Write down the logarithms of what was begun, and choose the power of two anew; return it. All sequences share
    // one, and what forward.py says of what is lost holds, as it is the largest of all sums that is brought to 2^TOP.
    template <class Kind> int settle(int power) {
        double largest = 0.0;
        for (size_t n = 0; n < states.size(); n++) {
            begun[n] = logaddexp(begun[n], Kind::log(states[n].begun) - power * LOG_2);
            states[n].begun = Kind::NONE;
            largest = std::max({largest, states[n].at_label, states[n].at_blank});
        }
        if constexpr (Kind::POWER == 0) return power;
        int exponent;
        std::frexp(largest, &exponent);
        const int more = std::min(TOP - exponent, MAX_AT_ONCE);
        const double factor = std::ldexp(1.0, more);
        for (State &state : states) {
            state.at_label *= factor;
            state.at_blank *= factor;
        }
        return power + more;
    }
};

// Find the frame at which each label starts in the most probable alignment; of equals, the earlier start wins.
void align(const Emissions &emissions, const int64_t *labels, int64_t count, int64_t *starts) {
    const int64_t states = 2 * count + 1;  // label n is at 2n + 1, blanks around it
    std::vector<double> best(states, NEG_INF);
    std::vector<uint8_t> moves(emissions.frames * states);  // how many states each came by
    best[0] = 0.0;
    for (int64_t t = 0; t < emissions.frames; t++) {
        const double *frame = emissions[t], blank = frame[emissions.blank];
        uint8_t *move = moves.data() + t * states;
        for (int64_t n = count - 1, state = states - 1; n >= 0; n--) {
            const bool ended = best[state - 1] > best[state];
            best[state] = (ended ? best[state - 1] : best[state]) + blank;
            move[state--] = ended;
            const bool moved = best[state - 1] > best[state];
            const double came = moved ? best[state - 1] : best[state];
            const bool skipped = n && labels[n] != labels[n - 1] && best[state - 2] > came;
            best[state] = (skipped ? best[state - 2] : came) + frame[labels[n]];
            move[state--] = skipped ? 2 : moved;
        }
        best[0] += blank;
    }
    int64_t at = count && best[states - 2] > best[states - 1] ? states - 2 : states - 1;
    for (int64_t t = emissions.frames - 1; t >= 0; t--) {
        if (at % 2) starts[at / 2] = t;
        at -= moves[t * states + at];
    }
}

}  // namespace

extern "C" {

// The checksum of this file, see native.py.
uint32_t parp_source() { return PARP_SOURCE; }

// What the Python code has to agree on.
const double *parp_constants() {
    static constexpr double constants[] = {STEPS_PER_NAT, MIN_TOTAL, MIN_SYMBOL, CHUNK, TOP, MAX_AT_ONCE};
    return constants;
}

// Find the best label sequences of one utterance, ``log_probs`` (frames, symbols), at most ``nbest``.
// ``counts`` and ``scores`` (nbest) take how many labels each has and its log-probability, best first; ``labels``,
// ``starts`` and ``positional`` (nbest, frames) take a row for each. Returns how many there are; -1: no memory.
int64_t parp_decode(const double *log_probs, int64_t frames, int64_t symbols, int64_t blank, int64_t beam,
                    int64_t nbest, double token_min_logp, double beam_prune_logp, int64_t *counts, double *scores,
                    int64_t *labels, int64_t *starts, double *positional) try {
    const Emissions emissions{log_probs, frames, symbols, blank};
    const Search search(emissions, beam, token_min_logp, beam_prune_logp);
    if (search.beams.empty()) return 0;
    const Sums sums(emissions, search);
    std::vector<Ranked> found;
    for (size_t k = 0; k < sums.scores.size(); k++)
        if (sums.scores[k] > NEG_INF) found.push_back({comparable(sums.scores[k]), static_cast<int64_t>(k)});
    keep_best(found, nbest);
    for (const Ranked &one : found) {
        const int64_t end = sums.ends[one.place];
        const auto parent = [&](int64_t state) { return sums.states[state].parent; };
        int64_t count = 0;
        for (int64_t state = end; state > 0; state = parent(state)) count++;
        *counts++ = count;
        *scores++ = sums.scores[one.place];
        for (int64_t state = end, n = count; state > 0; state = parent(state)) {
            labels[--n] = sums.states[state].label;
            const double upto = state == end ? sums.scores[one.place] : sums.begun[state];
            positional[n] = upto - sums.begun[parent(state)];
        }
        align(emissions, labels, count, starts);
        labels += frames, starts += frames, positional += frames;
    }
    return static_cast<int64_t>(found.size());
} catch (const std::exception &) {  // what a vector throws if it cannot grow
    return -1;
}
}
