// The passes over fp32 weights that cost time, at the speed of the memory; compiled.py calls them.
//
// 64 weights are one word: bit i of it answers for weight i. What asks 64 weights a question is written three times
// below, for AVX-512, for AVX2 and for anything; all else is written once. Each pass is an exact count: which of the
// three does it changes nothing but the time.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a mask's bytes are those of a little-endian word: numpy has to do it here"
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define VECTORS 1
#endif

#ifdef __GNUC__
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif

namespace {

constexpr uint32_t MAGNITUDE = 0x7FFFFFFF, NOT_FINITE = 0x7F800000;
constexpr int64_t WIDE = 64;

// A core that reads one place after the other waits for memory: with eight places at a time it has more under way.
// They are four pages apart, and so within reach of the cache when what was found is collected. Asking for each two
// words ahead, though the processor does so by itself, took a tenth off both passes.
constexpr int64_t STREAMS = 8, RUN = 64, BLOCK = STREAMS * RUN, AHEAD = 2;  // in words

INLINE void ask_ahead(const uint32_t *values) {
#ifdef __GNUC__
    for (int i = 0; i < WIDE; i += 16) __builtin_prefetch(values + AHEAD * WIDE + i);  // 64 bytes come at a time
#endif
}

INLINE int64_t ones(uint64_t word) {
#ifdef __GNUC__
    return __builtin_popcountll(word);
#else
    int64_t count = 0;
    for (; word; word &= word - 1) count++;
    return count;
#endif
}

INLINE int64_t first(uint64_t word) {  // of its bits that are 1
#ifdef __GNUC__
    return __builtin_ctzll(word);
#else
    return ones(~word & (word - 1));
#endif
}

INLINE uint64_t lower(int64_t many) { return many < WIDE ? (uint64_t{1} << many) - 1 : ~uint64_t{0}; }

// For any machine. Eight bytes of 0 or 1 become eight bits by one multiplication.
struct Plain {
    static INLINE uint64_t below(const uint32_t *values, uint32_t key) {
        uint8_t less[WIDE];
        for (int i = 0; i < WIDE; i++) less[i] = (values[i] & MAGNITUDE) < key;
        uint64_t word = 0;
        for (int i = 0; i < 8; i++) {
            uint64_t eight = 0;
            for (int j = 7; j >= 0; j--) eight = eight << 8 | less[8 * i + j];
            word |= (eight * 0x0102040810204080 >> 56) << 8 * i;
        }
        return word;
    }
    static INLINE uint64_t keep(uint32_t *values, uint32_t key) {
        const uint64_t word = ~below(values, key);
        for (int i = 0; i < WIDE; i++) values[i] = (values[i] & MAGNITUDE) < key ? 0 : values[i];
        return word;
    }
    static INLINE void copy(uint32_t *into, const uint32_t *values, uint64_t kept) {
        for (int i = 0; i < WIDE; i++) into[i] = values[i] & -static_cast<uint32_t>(kept >> i & 1);
    }
    static INLINE void multiply(float *into, const float *gradient, const float *weight, const float *score) {
        for (int i = 0; i < WIDE; i++)
            into[i] = gradient[i] * weight[i] * static_cast<float>((score[i] > 0) - (score[i] < 0));
    }
    static INLINE void finish() {}
};

#ifdef VECTORS
#define AVX2 __attribute__((target("avx2,popcnt")))
#define AVX512 __attribute__((target("avx512f,popcnt")))

struct Avx2 {
    AVX2 static inline uint64_t below(const uint32_t *values, uint32_t key) {
        uint64_t word = 0;
        for (int i = 0; i < 8; i++) word |= less(load(values + 8 * i), key) << 8 * i;
        return word;
    }
    AVX2 static inline uint64_t keep(uint32_t *values, uint32_t key) {
        uint64_t word = 0;
        for (int i = 0; i < 8; i++) {
            const __m256i eight = load(values + 8 * i), dropped = compare(eight, key);
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(values + 8 * i), _mm256_andnot_si256(dropped, eight));
            word |= bits(dropped) << 8 * i;
        }
        return ~word;
    }
    AVX2 static inline void copy(uint32_t *into, const uint32_t *values, uint64_t kept) {
        const __m256i places = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        for (int i = 0; i < 8; i++) {
            const __m256i byte = _mm256_set1_epi32(static_cast<int>(kept >> 8 * i & 0xFF));
            const __m256i keeps = _mm256_cmpeq_epi32(_mm256_and_si256(byte, places), places);
            _mm256_stream_si256(reinterpret_cast<__m256i *>(into + 8 * i), _mm256_and_si256(load(values + 8 * i), keeps));
        }
    }
    AVX2 static inline void multiply(float *into, const float *gradient, const float *weight, const float *score) {
        const __m256 one = _mm256_set1_ps(1), zero = _mm256_setzero_ps();
        for (int i = 0; i < WIDE; i += 8) {
            const __m256 at = _mm256_loadu_ps(score + i);
            const __m256 above = _mm256_and_ps(_mm256_cmp_ps(at, zero, _CMP_GT_OQ), one);
            const __m256 sign = _mm256_sub_ps(above, _mm256_and_ps(_mm256_cmp_ps(at, zero, _CMP_LT_OQ), one));
            const __m256 product = _mm256_mul_ps(_mm256_loadu_ps(gradient + i), _mm256_loadu_ps(weight + i));
            _mm256_stream_ps(into + i, _mm256_mul_ps(product, sign));
        }
    }
    static inline void finish() { _mm_sfence(); }

private:
    AVX2 static inline __m256i load(const uint32_t *values) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(values));
    }
    AVX2 static inline __m256i compare(__m256i eight, uint32_t key) {  // keys have no sign
        const __m256i keys = _mm256_and_si256(eight, _mm256_set1_epi32(MAGNITUDE));
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(key)), keys);
    }
    AVX2 static inline uint64_t bits(__m256i truths) {
        return static_cast<uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(truths)));
    }
    AVX2 static inline uint64_t less(__m256i eight, uint32_t key) { return bits(compare(eight, key)); }
};

struct Avx512 {
    AVX512 static inline uint64_t below(const uint32_t *values, uint32_t key) {
        uint64_t word = 0;
        for (int i = 0; i < 4; i++) {
            const __m512i sixteen = _mm512_loadu_si512(values + 16 * i);
            word |= static_cast<uint64_t>(_mm512_cmplt_epu32_mask(magnitudes(sixteen), all(key))) << 16 * i;
        }
        return word;
    }
    AVX512 static inline uint64_t keep(uint32_t *values, uint32_t key) {
        uint64_t word = 0;
        for (int i = 0; i < 4; i++) {
            const __m512i sixteen = _mm512_loadu_si512(values + 16 * i);
            const __mmask16 kept = _mm512_cmpge_epu32_mask(magnitudes(sixteen), all(key));
            _mm512_storeu_si512(values + 16 * i, _mm512_maskz_mov_epi32(kept, sixteen));
            word |= static_cast<uint64_t>(kept) << 16 * i;
        }
        return word;
    }
    AVX512 static inline void copy(uint32_t *into, const uint32_t *values, uint64_t kept) {
        for (int i = 0; i < 4; i++) {
            const __m512i sixteen = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(kept >> 16 * i), values + 16 * i);
            _mm512_stream_si512(reinterpret_cast<__m512i *>(into + 16 * i), sixteen);
        }
    }
    AVX512 static inline void multiply(float *into, const float *gradient, const float *weight, const float *score) {
        const __m512 one = _mm512_set1_ps(1), zero = _mm512_setzero_ps();
        for (int i = 0; i < WIDE; i += 16) {
            const __m512 at = _mm512_loadu_ps(score + i);
            const __m512 above = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(at, zero, _CMP_GT_OQ), one);
            const __m512 sign = _mm512_mask_sub_ps(above, _mm512_cmp_ps_mask(at, zero, _CMP_LT_OQ), zero, one);
            const __m512 product = _mm512_mul_ps(_mm512_loadu_ps(gradient + i), _mm512_loadu_ps(weight + i));
            _mm512_stream_ps(into + i, _mm512_mul_ps(product, sign));
        }
    }
    static inline void finish() { _mm_sfence(); }

private:
    AVX512 static inline __m512i all(uint32_t key) { return _mm512_set1_epi32(static_cast<int>(key)); }
    AVX512 static inline __m512i magnitudes(__m512i sixteen) { return _mm512_and_si512(sixteen, all(MAGNITUDE)); }
};
#endif

// How many words of the next block lie in each stream, and how many streams there are.
struct Shape {
    int64_t run, streams;
    explicit Shape(int64_t words)
        : run(std::min(RUN, std::max<int64_t>(1, words / STREAMS))), streams(std::min(STREAMS, words / run)) {}
    int64_t words() const { return run * streams; }
};

// Where fewer than 64 weights are left, or two rules meet: one weight after the other.
INLINE uint64_t below_singly(const uint32_t *values, int64_t many, uint32_t key) {
    uint64_t word = 0;
    for (int64_t i = 0; i < many; i++) word |= static_cast<uint64_t>((values[i] & MAGNITUDE) < key) << i;
    return word;
}

INLINE uint64_t keep_singly(uint32_t *values, int64_t many, uint32_t key, int64_t split, bool zero) {
    const uint64_t first = lower(split);
    const uint64_t dropped = (below_singly(values, many, key + 1) & first) | (below_singly(values, many, key) & ~first);
    for (int64_t i = 0; zero && i < many; i++)
        if (dropped >> i & 1) values[i] = 0;
    return ~dropped & lower(many);
}

struct Look {
    const uint32_t *values;
    int64_t size;
    uint32_t low, high;
    uint32_t *found;
    int64_t room, below, inside;
    uint64_t finite;

    // Note the answers for one word; return which of its weights are inside.
    INLINE uint64_t note(uint64_t under_low, uint64_t under_high, uint64_t is_finite) {
        below += ones(under_low);
        finite &= is_finite;
        return under_high & ~under_low;
    }
    INLINE void collect(const uint32_t *from, uint64_t word) {
        int64_t place = inside;
        inside += ones(word);
        for (; word && place < room; word &= word - 1) found[place++] = from[first(word)] & MAGNITUDE;
    }
};

template <class Lanes> INLINE void look(Look &at) {
    const int64_t words = at.size / WIDE;
    uint64_t inside[BLOCK];
    for (int64_t start = 0; start < words;) {
        const Shape shape(words - start);
        const uint32_t *first = at.values + start * WIDE;
        for (int64_t i = 0; i < shape.run; i++)
            for (int64_t stream = 0; stream < shape.streams; stream++) {
                const int64_t word = stream * shape.run + i;
                const uint32_t *here = first + word * WIDE;
                ask_ahead(here);
                inside[word] =
                    at.note(Lanes::below(here, at.low), Lanes::below(here, at.high), Lanes::below(here, NOT_FINITE));
            }
        for (int64_t word = 0; word < shape.words(); word++)
            if (inside[word]) at.collect(first + word * WIDE, inside[word]);
        start += shape.words();
    }
    const uint32_t *rest = at.values + words * WIDE;
    const int64_t many = at.size - words * WIDE;
    at.collect(rest, at.note(below_singly(rest, many, at.low), below_singly(rest, many, at.high),
                             below_singly(rest, many, NOT_FINITE) | ~lower(many)));
}

struct Sweep {
    uint32_t *values;
    int64_t size;
    uint32_t key;
    int64_t split;
    bool zero;
    uint8_t *bits;
    const uint8_t *before;
    int64_t kept, churn;

    // Write the answers for one word, of which ``many`` count, and compare them with the earlier ones.
    INLINE void note(int64_t word, uint64_t keeps, int64_t many = WIDE) {
        const size_t bytes = static_cast<size_t>((many + 7) / 8);
        uint64_t earlier = keeps;
        if (before) {
            earlier = 0;
            std::memcpy(&earlier, before + word * 8, bytes);
        }
        std::memcpy(bits + word * 8, &keeps, bytes);
        kept += ones(keeps);
        churn += ones(keeps ^ earlier);
    }
};

template <class Lanes> INLINE void sweep_words(Sweep &at, int64_t start, int64_t stop, uint32_t key) {
    while (start < stop) {
        const Shape shape(stop - start);
        for (int64_t i = 0; i < shape.run; i++)
            for (int64_t stream = 0; stream < shape.streams; stream++) {
                const int64_t word = start + stream * shape.run + i;
                uint32_t *here = at.values + word * WIDE;
                ask_ahead(here);
                at.note(word, at.zero ? Lanes::keep(here, key) : ~Lanes::below(here, key));
            }
        start += shape.words();
    }
}

template <class Lanes> INLINE void sweep(Sweep &at) {
    const int64_t words = at.size / WIDE, mixed = at.split / WIDE;
    sweep_words<Lanes>(at, 0, std::min(mixed, words), at.key + 1);
    if (mixed < words) at.note(mixed, keep_singly(at.values + mixed * WIDE, WIDE, at.key, at.split % WIDE, at.zero));
    sweep_words<Lanes>(at, std::min(mixed + 1, words), words, at.key);
    if (const int64_t many = at.size - words * WIDE) {
        const int64_t split = std::max<int64_t>(0, at.split - words * WIDE);
        at.note(words, keep_singly(at.values + words * WIDE, many, at.key, split, at.zero), many);
    }
}

// These two write what is read much later: they write past the cache, which asks for places that are aligned.
constexpr uintptr_t ALIGNED = 64;

template <class Lanes>
INLINE void copy_masked(uint32_t *into, const uint32_t *values, int64_t size, const uint8_t *bits) {
    const int64_t words = size / WIDE, many = size - words * WIDE;
    const bool aligned = reinterpret_cast<uintptr_t>(into) % ALIGNED == 0;
    uint64_t kept = 0;
    for (int64_t word = 0; word < words; word++) {
        std::memcpy(&kept, bits + word * 8, 8);
        if (aligned) Lanes::copy(into + word * WIDE, values + word * WIDE, kept);
        else Plain::copy(into + word * WIDE, values + word * WIDE, kept);
    }
    Lanes::finish();
    if (!many) return;
    std::memcpy(&kept, bits + words * 8, static_cast<size_t>((many + 7) / 8));
    for (int64_t i = words * WIDE; i < size; i++) into[i] = kept >> (i - words * WIDE) & 1 ? values[i] : 0;
}

template <class Lanes>
INLINE void multiply(float *into, const float *gradient, const float *weight, const float *score, int64_t size) {
    const bool aligned = reinterpret_cast<uintptr_t>(into) % ALIGNED == 0;
    int64_t i = 0;
    for (; aligned && i + WIDE <= size; i += WIDE) Lanes::multiply(into + i, gradient + i, weight + i, score + i);
    Lanes::finish();
    for (; i < size; i++) into[i] = gradient[i] * weight[i] * static_cast<float>((score[i] > 0) - (score[i] < 0));
}

using Copy = void(uint32_t *, const uint32_t *, int64_t, const uint8_t *);
using Multiply = void(float *, const float *, const float *, const float *, int64_t);

void look_plain(Look &at) { look<Plain>(at); }
void sweep_plain(Sweep &at) { sweep<Plain>(at); }
void copy_plain(uint32_t *i, const uint32_t *v, int64_t n, const uint8_t *b) { copy_masked<Plain>(i, v, n, b); }
void multiply_plain(float *i, const float *g, const float *w, const float *s, int64_t n) {
    multiply<Plain>(i, g, w, s, n);
}
#ifdef VECTORS
AVX2 void look_avx2(Look &at) { look<Avx2>(at); }
AVX2 void sweep_avx2(Sweep &at) { sweep<Avx2>(at); }
AVX2 void copy_avx2(uint32_t *i, const uint32_t *v, int64_t n, const uint8_t *b) { copy_masked<Avx2>(i, v, n, b); }
AVX2 void multiply_avx2(float *i, const float *g, const float *w, const float *s, int64_t n) {
    multiply<Avx2>(i, g, w, s, n);
}
AVX512 void copy_avx512(uint32_t *i, const uint32_t *v, int64_t n, const uint8_t *b) { copy_masked<Avx512>(i, v, n, b); }
AVX512 void multiply_avx512(float *i, const float *g, const float *w, const float *s, int64_t n) {
    multiply<Avx512>(i, g, w, s, n);
}
AVX512 void look_avx512(Look &at) { look<Avx512>(at); }
AVX512 void sweep_avx512(Sweep &at) { sweep<Avx512>(at); }
#endif

struct Level {
    void (*look)(Look &);
    void (*sweep)(Sweep &);
    Copy *copy;
    Multiply *multiply;
};

const Level LEVELS[] = {
    {look_plain, sweep_plain, copy_plain, multiply_plain},
#ifdef VECTORS
    {look_avx2, sweep_avx2, copy_avx2, multiply_avx2},
    {look_avx512, sweep_avx512, copy_avx512, multiply_avx512},
#endif
};

}  // namespace

extern "C" {

// The checksum of this file, see native.py.
uint32_t parp_source() { return PARP_SOURCE; }

// How many of the LEVELS this processor has; the last is the fastest.
int32_t parp_levels() {
#ifdef VECTORS
    return !__builtin_cpu_supports("avx2") ? 1 : !__builtin_cpu_supports("avx512f") ? 2 : 3;
#else
    return 1;
#endif
}

// Where a pass finds a piece, and what it counts there.
struct Sampled {
    const uint32_t *values;
    int64_t size;
};

struct Looked {
    const uint32_t *values;
    int64_t size, below, inside, finite, start;
};

struct Swept {
    uint32_t *values;
    int64_t size, split, zero;
    uint8_t *bits;
    const uint8_t *before;  // or null
    int64_t kept, churn;
};

// Take every ``step``-th key of all ``count`` pieces, from the first one on.
void parp_sample(const Sampled *pieces, int64_t count, int64_t step, uint32_t *keys) {
    int64_t next = 0;  // in the piece
    for (int64_t i = 0; i < count; next -= pieces[i++].size)
        for (; next < pieces[i].size; next += step) {
#ifdef __GNUC__
            __builtin_prefetch(pieces[i].values + std::min(next + STREAMS * step, pieces[i].size - 1));
#endif
            *keys++ = pieces[i].values[next] & MAGNITUDE;
        }
}

// What threads share that call a pass with the same pieces: how many there are, and how many have been taken by one of
// them; how many keys have been found.
struct Counts {
    int64_t pieces;
    std::atomic<int64_t> taken, found;
};

// Count the keys below ``low``, and those from ``low`` up to but not including ``high``; tell whether all are finite.
// ``found`` takes the keys inside, a piece's in order from its ``start`` on; where all together are more than it has
// ``room`` for, they are only counted. ``own`` is as much room for this thread alone, where a piece's are collected.
void parp_count_and_collect(Counts *counts, Looked *pieces, int32_t level, uint32_t low, uint32_t high, uint32_t *found,
               uint32_t *own, int64_t room) {
    for (int64_t next; (next = counts->taken++) < counts->pieces;) {
        Looked &piece = pieces[next];
        Look at{piece.values, piece.size, low, high, own, room, 0, 0, ~uint64_t{0}};
        LEVELS[level].look(at);
        piece.below = at.below;
        piece.inside = at.inside;
        piece.finite = at.finite == ~uint64_t{0};
        piece.start = counts->found.fetch_add(at.inside);
        if (piece.start + at.inside <= room) std::copy_n(own, at.inside, found + piece.start);
    }
}

// Drop what has a key below ``key``, and what has just that key and stands before ``split``; make it zero if ``zero``.
// ``bits`` takes the mask, ``before`` is an earlier one.
void parp_apply_threshold(Counts *counts, Swept *pieces, int32_t level, uint32_t key) {
    for (int64_t next; (next = counts->taken++) < counts->pieces;) {
        Swept &piece = pieces[next];
        Sweep at{piece.values, piece.size, key, piece.split, piece.zero != 0, piece.bits, piece.before, 0, 0};
        LEVELS[level].sweep(at);
        piece.kept = at.kept;
        piece.churn = at.churn;
    }
}

// Make zero what ``bits`` drop; ``aside``, unless null, takes what it was, in order.
void parp_apply_mask(uint32_t *values, int64_t size, const uint8_t *bits, uint32_t *aside) {
    for (int64_t start = 0; start < size; start += WIDE) {
        const int64_t many = std::min(WIDE, size - start);
        uint64_t kept = 0;
        std::memcpy(&kept, bits + start / 8, static_cast<size_t>((many + 7) / 8));
        for (uint64_t word = ~kept & lower(many); word; word &= word - 1) {
            uint32_t &value = values[start + first(word)];
            if (aside) *aside++ = value;
            value = 0;
        }
    }
}

// Make ``into`` what ``values`` has where ``bits`` keep it, and zero elsewhere.
void parp_copy_masked(uint32_t *into, const uint32_t *values, int64_t size, const uint8_t *bits, int32_t level) {
    LEVELS[level].copy(into, values, size, bits);
}

// Make ``into`` gradient * weight * sign(score), in this order.
void parp_score_gradient(float *into, const float *gradient, const float *weight, const float *score, int64_t size,
                         int32_t level) {
    LEVELS[level].multiply(into, gradient, weight, score, size);
}

// Make the zeros among ``values`` what ``aside`` has, in order; it has as many.
void parp_scatter(uint32_t *values, int64_t size, const uint32_t *aside) {
    for (int64_t start = 0; start < size; start += WIDE) {
        const int64_t many = std::min(WIDE, size - start);
        uint64_t word = many == WIDE ? Plain::below(values + start, 1) : below_singly(values + start, many, 1);
        for (; word; word &= word - 1) values[start + first(word)] = *aside++;
    }
}
}
