// A tensor from the bits of its mask and its kept values, at the speed of the memory; expansion.py calls it.
//
// 64 elements are one word of the mask. A word is expanded in three ways, for AVX-512, for AVX2 and for anything; which
// of the three does it changes nothing but the time.

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

constexpr int64_t WIDE = 64;
constexpr uintptr_t ALIGNED = 64;  // vectors are written past the cache, as they are read much later

// For any machine. 64 values can be read, here and below.
struct Plain {
    template <class T> static INLINE int64_t expand(T *into, const T *values, uint64_t kept) {
        int64_t next = 0;
        for (int i = 0; i < WIDE; i++) {
            const uint64_t keeps = kept >> i & 1;
            into[i] = static_cast<T>(values[next] & -keeps);
            next += static_cast<int64_t>(keeps);
        }
        return next;
    }
    static INLINE void finish() {}
};

#ifdef VECTORS
#define AVX2 __attribute__((target("avx2,bmi2,popcnt")))
#define AVX512 __attribute__((target("avx512f,popcnt")))

struct Avx2 {
    template <class T> AVX2 static inline int64_t expand(T *into, const T *values, uint64_t kept) {
        int64_t next = 0;
        for (int i = 0; i < WIDE; i += 8) {
            const uint64_t eight = kept >> i & 0xFF, keeps = _pdep_u64(eight, 0x0101010101010101) * 0xFF;
            const uint64_t places = _pdep_u64(0x0706050403020100, keeps);  // of the values, by the bytes that keep one
            const __m256i near = _mm256_cvtepu8_epi32(bytes(places)), mask = _mm256_cvtepi8_epi32(bytes(keeps));
            put(into + i, _mm256_and_si256(_mm256_permutevar8x32_epi32(take(values + next), near), mask));
            next += __builtin_popcountll(eight);
        }
        return next;
    }
    static inline void finish() { _mm_sfence(); }

private:
    AVX2 static inline __m128i bytes(uint64_t eight) { return _mm_cvtsi64_si128(static_cast<long long>(eight)); }
    AVX2 static inline __m256i take(const uint32_t *values) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(values));
    }
    AVX2 static inline __m256i take(const uint16_t *values) {
        return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(values)));
    }
    AVX2 static inline void put(uint32_t *into, __m256i eight) {
        _mm256_stream_si256(reinterpret_cast<__m256i *>(into), eight);
    }
    AVX2 static inline void put(uint16_t *into, __m256i eight) {
        const __m128i low = _mm256_castsi256_si128(eight), high = _mm256_extracti128_si256(eight, 1);
        _mm_stream_si128(reinterpret_cast<__m128i *>(into), _mm_packus_epi32(low, high));
    }
};

struct Avx512 {
    template <class T> AVX512 static inline int64_t expand(T *into, const T *values, uint64_t kept) {
        int64_t next = 0;
        for (int i = 0; i < WIDE; i += 16) {
            const __mmask16 keeps = static_cast<__mmask16>(kept >> i);
            put(into + i, _mm512_maskz_expand_epi32(keeps, take(values + next)));
            next += __builtin_popcountll(keeps);
        }
        return next;
    }
    static inline void finish() { _mm_sfence(); }

private:
    AVX512 static inline __m512i take(const uint32_t *values) { return _mm512_loadu_si512(values); }
    AVX512 static inline __m512i take(const uint16_t *values) {
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(values)));
    }
    AVX512 static inline void put(uint32_t *into, __m512i sixteen) {
        _mm512_stream_si512(reinterpret_cast<__m512i *>(into), sixteen);
    }
    AVX512 static inline void put(uint16_t *into, __m512i sixteen) {
        _mm256_stream_si256(reinterpret_cast<__m256i *>(into), _mm512_cvtepi32_epi16(sixteen));
    }
};
#endif

// Where fewer than 64 values are left, a vector would read past them: one element after the other.
template <class Lanes, class T>
INLINE int64_t expand(T *into, int64_t size, const uint8_t *bits, const T *values, int64_t many) {
    const bool aligned = reinterpret_cast<uintptr_t>(into) % ALIGNED == 0;
    int64_t next = 0, start = 0;
    for (uint64_t kept; start + WIDE <= size && next + WIDE <= many; start += WIDE) {
        std::memcpy(&kept, bits + start / 8, 8);
        T *here = into + start;
        next += aligned ? Lanes::expand(here, values + next, kept) : Plain::expand(here, values + next, kept);
    }
    Lanes::finish();
    for (; start < size; start++) {
        const bool keeps = bits[start / 8] >> start % 8 & 1;
        if (keeps && next == many) return -1;
        into[start] = keeps ? values[next++] : 0;
    }
    return next;
}

template <class Lanes>
INLINE int64_t any(void *into, int64_t size, int32_t width, const uint8_t *bits, const void *from, int64_t many) {
    if (width == 2)
        return expand<Lanes>(static_cast<uint16_t *>(into), size, bits, static_cast<const uint16_t *>(from), many);
    return expand<Lanes>(static_cast<uint32_t *>(into), size, bits, static_cast<const uint32_t *>(from), many);
}

using Expand = int64_t(void *, int64_t, int32_t, const uint8_t *, const void *, int64_t);

int64_t plain(void *i, int64_t n, int32_t w, const uint8_t *b, const void *v, int64_t m) {
    return any<Plain>(i, n, w, b, v, m);
}
#ifdef VECTORS
AVX2 int64_t avx2(void *i, int64_t n, int32_t w, const uint8_t *b, const void *v, int64_t m) {
    return any<Avx2>(i, n, w, b, v, m);
}
AVX512 int64_t avx512(void *i, int64_t n, int32_t w, const uint8_t *b, const void *v, int64_t m) {
    return any<Avx512>(i, n, w, b, v, m);
}
#endif

Expand *const LEVELS[] = {
    plain,
#ifdef VECTORS
    avx2,
    avx512,
#endif
};

}  // namespace

extern "C" {

// The checksum of this file, see native.py.
uint32_t parp_source() { return PARP_SOURCE; }

// How many of the LEVELS this processor has; the last is the fastest.
int32_t parp_levels() {
#ifdef VECTORS
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    return !avx2 ? 1 : !__builtin_cpu_supports("avx512f") ? 2 : 3;
#else
    return 1;
#endif
}

// Make ``into``, of elements of ``width`` (2 or 4) bytes, the next of ``many`` values where ``bits`` keep one, and zero
// elsewhere. Return how many values were used; -1 where they do not suffice.
int64_t parp_expand(void *into, int64_t size, int32_t width, const uint8_t *bits, const void *values, int64_t many,
                    int32_t level) {
    return LEVELS[level](into, size, width, bits, values, many);
}
}
