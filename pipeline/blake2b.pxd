# cython: language_level=3
"""BLAKE2b with a digest of 128 bits and no key (RFC 7693), of short texts: what `hashlib.blake2b(digest_size=16)` says,
without the three objects that it takes to ask."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef enum:
    BLOCK = 128
    LONGEST = 4 * BLOCK
    ROUNDS = 12
    DIGEST_BYTES = 16

cdef extern from *:
    """
    #include <stdint.h>
    static const uint64_t whipstitch_iv[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
    };
    static const uint8_t whipstitch_sigma[12][16] = {
        { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15},
        {14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3},
        {11,  8, 12,  0,  5,  2, 15, 13, 10, 14,  3,  6,  7,  1,  9,  4},
        { 7,  9,  3,  1, 13, 12, 11, 14,  2,  6,  5, 10,  4,  0, 15,  8},
        { 9,  0,  5,  7,  2,  4, 10, 15, 14,  1, 11, 12,  6,  8,  3, 13},
        { 2, 12,  6, 10,  0, 11,  8,  3,  4, 13,  7,  5, 15, 14,  1,  9},
        {12,  5,  1, 15, 14, 13,  4, 10,  0,  7,  6,  3,  9,  2,  8, 11},
        {13, 11,  7, 14, 12,  1,  3,  9,  5,  0, 15,  4,  8,  6,  2, 10},
        { 6, 15, 14,  9, 11,  3,  0,  8, 12,  2, 13,  7,  1,  4, 10,  5},
        {10,  2,  8,  4,  7,  6,  1,  5, 15, 11,  9, 14,  3, 12, 13,  0},
        { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15},
        {14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3},
    };
    """
    const uint64_t[8] IV "whipstitch_iv"
    const unsigned char[12][16] SIGMA "whipstitch_sigma"


cdef inline uint64_t _rotated(uint64_t word, int by) noexcept nogil:
    return word >> by | word << (64 - by)


cdef inline void _mix(uint64_t* v, int a, int b, int c, int d, uint64_t x, uint64_t y) noexcept nogil:
    v[a] = v[a] + v[b] + x
    v[d] = _rotated(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = _rotated(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = _rotated(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = _rotated(v[b] ^ v[c], 63)


cdef inline void _compress(uint64_t* h, const unsigned char* block, uint64_t read, bint is_last) noexcept nogil:
    cdef uint64_t[16] v
    cdef uint64_t[16] m
    cdef const unsigned char* s
    cdef int i
    memcpy(m, block, BLOCK)  # its words are little-endian, as those of every machine that Python is built for here
    for i in range(8):
        v[i], v[i + 8] = h[i], IV[i]
    v[12] = v[12] ^ read
    if is_last:
        v[14] = ~v[14]
    for i in range(ROUNDS):
        s = SIGMA[i]
        _mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]])
        _mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]])
        _mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]])
        _mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]])
        _mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]])
        _mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]])
        _mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]])
        _mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]])
    for i in range(8):
        h[i] = h[i] ^ v[i] ^ v[i + 8]


cdef inline void hash_padded(const unsigned char* text, size_t size, uint64_t* digest) noexcept nogil:
    """Of a text that zeros fill up to a whole block, and that has one at least. Two little-endian words come out."""
    cdef uint64_t[8] h
    cdef size_t read = 0
    cdef int i
    for i in range(8):
        h[i] = IV[i]
    h[0] = h[0] ^ 0x01010000 ^ DIGEST_BYTES
    while size - read > BLOCK:
        read += BLOCK
        _compress(h, text + read - BLOCK, read, False)
    _compress(h, text + read, size, True)
    digest[0], digest[1] = h[0], h[1]
