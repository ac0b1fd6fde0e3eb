# cython: language_level=3
"""BLAKE2b with a digest of 128 bits and no key (RFC 7693), of short texts: what `hashlib.blake2b(digest_size=16)` says,
without the three objects that it takes to ask, and of four texts at once."""

from libc.stdint cimport uint64_t

cdef enum:
    BLOCK = 128
    LONGEST = 4 * BLOCK

# In C, as only there a round can have its places in the block as constants, which takes a seventh less time.
cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint64_t blake2b_iv[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
    };

    #define BLAKE2B_TURN(word, by) ((word) >> (by) | (word) << (64 - (by)))

    #define BLAKE2B_MIX(a, b, c, d, x, y) \\
        v[a] += v[b] + m[x]; v[d] = BLAKE2B_TURN(v[d] ^ v[a], 32); \\
        v[c] += v[d];        v[b] = BLAKE2B_TURN(v[b] ^ v[c], 24); \\
        v[a] += v[b] + m[y]; v[d] = BLAKE2B_TURN(v[d] ^ v[a], 16); \\
        v[c] += v[d];        v[b] = BLAKE2B_TURN(v[b] ^ v[c], 63);

    #define BLAKE2B_ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \\
        BLAKE2B_MIX(0, 4, 8, 12, s0, s1)   BLAKE2B_MIX(1, 5, 9, 13, s2, s3) \\
        BLAKE2B_MIX(2, 6, 10, 14, s4, s5)  BLAKE2B_MIX(3, 7, 11, 15, s6, s7) \\
        BLAKE2B_MIX(0, 5, 10, 15, s8, s9)  BLAKE2B_MIX(1, 6, 11, 12, s10, s11) \\
        BLAKE2B_MIX(2, 7, 8, 13, s12, s13) BLAKE2B_MIX(3, 4, 9, 14, s14, s15)

    #define BLAKE2B_ROUNDS \\
        BLAKE2B_ROUND( 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15) \\
        BLAKE2B_ROUND(14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3) \\
        BLAKE2B_ROUND(11,  8, 12,  0,  5,  2, 15, 13, 10, 14,  3,  6,  7,  1,  9,  4) \\
        BLAKE2B_ROUND( 7,  9,  3,  1, 13, 12, 11, 14,  2,  6,  5, 10,  4,  0, 15,  8) \\
        BLAKE2B_ROUND( 9,  0,  5,  7,  2,  4, 10, 15, 14,  1, 11, 12,  6,  8,  3, 13) \\
        BLAKE2B_ROUND( 2, 12,  6, 10,  0, 11,  8,  3,  4, 13,  7,  5, 15, 14,  1,  9) \\
        BLAKE2B_ROUND(12,  5,  1, 15, 14, 13,  4, 10,  0,  7,  6,  3,  9,  2,  8, 11) \\
        BLAKE2B_ROUND(13, 11,  7, 14, 12,  1,  3,  9,  5,  0, 15,  4,  8,  6,  2, 10) \\
        BLAKE2B_ROUND( 6, 15, 14,  9, 11,  3,  0,  8, 12,  2, 13,  7,  1,  4, 10,  5) \\
        BLAKE2B_ROUND(10,  2,  8,  4,  7,  6,  1,  5, 15, 11,  9, 14,  3, 12, 13,  0) \\
        BLAKE2B_ROUND( 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15) \\
        BLAKE2B_ROUND(14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3)

    static void blake2b_compress(uint64_t h[8], const unsigned char *block, uint64_t read, int is_last) {
        uint64_t v[16], m[16];
        memcpy(m, block, sizeof m);  /* its words are little-endian, as the machines are that this is built for */
        for (int i = 0; i < 8; i++) { v[i] = h[i]; v[i + 8] = blake2b_iv[i]; }
        v[12] ^= read;
        if (is_last) v[14] = ~v[14];
        BLAKE2B_ROUNDS
        for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
    }

    /* Of a text that zeros fill up to a whole block, and that has one at least. Two little-endian words come out. */
    static void blake2b_of_padded(const unsigned char *text, size_t size, uint64_t digest[2]) {
        uint64_t h[8];
        size_t read = 0;
        memcpy(h, blake2b_iv, sizeof h);
        h[0] ^= 0x01010000 ^ 16;
        for (; size - read > 128; text += 128) { read += 128; blake2b_compress(h, text, read, 0); }
        blake2b_compress(h, text, size, 1);
        memcpy(digest, h, 16);
    }

    /* The same of four texts at once, of a block each: in two fifths of the time where there is AVX2, and in less where
       there is AVX-512, which turns words and has registers for all that a round asks for. */
    typedef uint64_t blake2b_four __attribute__((vector_size(32)));

    #define BLAKE2B_OF_BLOCKS(name, made_for) \\
        made_for static void name(const unsigned char *blocks, const uint64_t *sizes, uint64_t *digests) { \\
            blake2b_four v[16], m[16]; \\
            uint64_t words[4][16]; \\
            memcpy(words, blocks, sizeof words); \\
            for (int i = 0; i < 16; i++) { \\
                m[i] = (blake2b_four){words[0][i], words[1][i], words[2][i], words[3][i]}; \\
                v[i] = (blake2b_four){0} + blake2b_iv[i & 7]; \\
            } \\
            v[0] ^= (blake2b_four){0} + (0x01010000 ^ 16); \\
            blake2b_four first = v[0], second = v[1]; \\
            v[12] ^= (blake2b_four){sizes[0], sizes[1], sizes[2], sizes[3]}; \\
            v[14] = ~v[14]; \\
            BLAKE2B_ROUNDS \\
            first ^= v[0] ^ v[8]; \\
            second ^= v[1] ^ v[9]; \\
            for (int i = 0; i < 4; i++) { digests[2 * i] = first[i]; digests[2 * i + 1] = second[i]; } \\
        }

    BLAKE2B_OF_BLOCKS(blake2b_of_blocks_anywhere, )

    #if defined(__x86_64__) && defined(__GNUC__)
    BLAKE2B_OF_BLOCKS(blake2b_of_blocks_avx2, __attribute__((target("avx2"))))
    BLAKE2B_OF_BLOCKS(blake2b_of_blocks_avx512, __attribute__((target("avx512vl"))))

    static void blake2b_of_blocks(const unsigned char *blocks, const uint64_t *sizes, uint64_t *digests) {
        if (__builtin_cpu_supports("avx512vl")) blake2b_of_blocks_avx512(blocks, sizes, digests);
        else if (__builtin_cpu_supports("avx2")) blake2b_of_blocks_avx2(blocks, sizes, digests);
        else blake2b_of_blocks_anywhere(blocks, sizes, digests);
    }
    #else
    #define blake2b_of_blocks blake2b_of_blocks_anywhere
    #endif
    """
    void blake2b_of_blocks(const unsigned char* blocks, const uint64_t* sizes, uint64_t* digests) noexcept nogil
    void blake2b_of_padded(const unsigned char* text, size_t size, uint64_t* digest) noexcept nogil
