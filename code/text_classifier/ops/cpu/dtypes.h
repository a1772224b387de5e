// The dtypes in memory, exp2 and the normal distribution for softmax and GELU, and dropout.

#pragma once

#include <stdint.h>

namespace {

// --- Dtypes: loaded as and stored from fp32 ---

struct bf16 {
    uint16_t bits;
};

inline float bits_to_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }

using fp16 = _Float16;

inline float load(float x) { return x; }
inline float load(fp16 x) { return static_cast<float>(x); }
inline float load(bf16 x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }

inline void store(float *to, float x) { *to = x; }
inline void store(fp16 *to, float x) { *to = static_cast<fp16>(x); }

// The upper half is x rounded to bf16, ties to even.
inline uint32_t round_to_bf16(float x) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return bits + 0x7fff + ((bits >> 16) & 1);
}
inline void store(bf16 *to, float x) { to->bits = static_cast<uint16_t>(round_to_bf16(x) >> 16); }

// 2^x for x <= 127, with a relative error below 3e-7; NaN stays NaN.
inline float exp2_approx(float x) {
    x = x < -126.0f ? -126.0f : x;
    const float n = __builtin_rintf(x), r = x - n;
    float p = 1.33908674e-3f;
    p = p * r + 9.66637369e-3f;
    p = p * r + 5.5503571e-2f;
    p = p * r + 0.240223489f;
    p = p * r + 0.693147188f;
    return (p * r + 1.0f) * bits_to_float(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

constexpr float LOG2_OF_E = 1.44269504f;

// The normal distribution's cdf, and the derivative of gelu(x) = x * cdf(x). For fp32; HalfNormal below takes a third
// of the time and is accurate enough for 16 bits.
struct FloatNormal {
    static float cdf(float x) { return probability(x, tail(x)); }
    static float gelu_derivative(float x) { return probability(x, tail(x)) + 0.39894228f * x * tail(x); }

private:
    static float tail(float x) { return exp2_approx(-0.5f * LOG2_OF_E * x * x); }

    // Abramowitz and Stegun 7.1.26, with an error below 1e-7.
    static float probability(float x, float tail) {
        const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * __builtin_fabsf(x));
        float p = 1.061405429f;
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        const float above = 0.5f * p * t * tail;
        return x > 0 ? 1.0f - above : above;
    }
};

// Both functions minus 0.5 are odd: x times a polynomial in x * x, fitted at the Chebyshev nodes and constant beyond a
// limit. Their errors are below 4e-6 and 3e-5; bf16 numbers near 1 are 4e-3 apart.
struct HalfNormal {
    static float cdf(float x) {
        constexpr float COEFFICIENTS[] = {0.15690493f,   -0.077193861f,   0.0547011907f,  -0.0401092116f,
                                          0.0282839308f, -0.0190209406f,  0.0114392265f,  -0.00525154812f,
                                          0.0027162774f, -0.00234001594f, 0.000980692601f};
        return 0.5f + odd(x, 4.5f, COEFFICIENTS);
    }
    static float gelu_derivative(float x) {
        constexpr float COEFFICIENTS[] = {0.142128071f,  -0.0750928609f, 0.0669767861f, -0.0722408206f,
                                          0.0756834651f, -0.0808788258f, 0.0996194986f, -0.0799669075f,
                                          0.0154423904f, -0.0149160238f, 0.0490863146f, -0.0258446653f};
        return 0.5f + odd(x, 5.0f, COEFFICIENTS);
    }

private:
    template <int TERMS>
    static float odd(float x, float limit, const float (&coefficients)[TERMS]) {
        x = x > limit ? limit : x;
        x = x < -limit ? -limit : x;
        const float s = x * x * (2.0f / (limit * limit)) - 1.0f;
        float sum = coefficients[TERMS - 1];
#pragma GCC unroll 16
        for (int term = TERMS - 2; term >= 0; term--) sum = sum * s + coefficients[term];
        return x * sum;
    }
};

template <class T>
struct NormalOf {
    using type = HalfNormal;
};
template <>
struct NormalOf<float> {
    using type = FloatNormal;
};

// --- Dropout ---

// Counter-based random bits: the same key and index give the same bits, so the backward pass recomputes the mask
// instead of storing it. The hash is Chris Wellons's "lowbias32", with the second half of the key between its rounds.
struct Key {
    uint32_t first, second;
};

inline uint32_t random_bits(Key key, uint32_t index) {
    uint32_t x = index + key.first;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x ^= key.second;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// Elements whose 16 random bits are below `threshold` become zero, the others are multiplied by `scale`.
struct Dropout {
    Key key;
    uint32_t threshold;
    float scale;

    Dropout(uint64_t seed, float probability)
        : key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
          threshold(static_cast<uint32_t>(probability * 65536.0f + 0.5f)),
          scale(65536.0f / static_cast<float>(65536 - threshold)) {}

    // The dropout of one head of one sequence, with another key.
    Dropout for_task(uint32_t task) const {
        Dropout result = *this;
        result.key = {random_bits(key, 2 * task), random_bits(key, 2 * task + 1)};
        return result;
    }

    // The factors of two elements that share 32 random bits.
    struct Factors {
        float upper, lower;
    };
    Factors factors(uint32_t index) const {
        const uint32_t bits = random_bits(key, index);
        return {bits >> 16 < threshold ? 0.0f : scale, (bits & 0xffff) < threshold ? 0.0f : scale};
    }

    float operator()(float x, uint32_t index) const {
        return random_bits(key, index) >> 16 < threshold ? 0.0f : x * scale;
    }
};

}  // namespace
