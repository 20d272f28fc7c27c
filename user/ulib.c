// The library's strings and memory, and calls made of other calls.
// Memory is handled in 64-bit words where both ends are aligned alike. Compiled with
// -fno-tree-loop-distribute-patterns, so that no loop here becomes a call of the function it implements.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "kernel/stat.h"
#include "user/user.h"

typedef uint64 __attribute__((may_alias)) word;
#define WORD sizeof(word)
#define ONES 0x0101010101010101UL // a word with 1 in each byte
#define HIGHS (ONES << 7)

static int aligned(const void *p) {
  return (uint64)p % WORD == 0;
}

static int aligned_alike(const void *p, const void *q) {
  return ((uint64)p ^ (uint64)q) % WORD == 0;
}

// Not 0 if a byte of w is 0.
static uint64 zero_byte(uint64 w) {
  return (w - ONES) & ~w & HIGHS;
}

void *memset(void *dst, int c, uint n) {
  uchar *d = dst, *end = d + n;
  uint64 fill = (uchar)c * ONES;

  while (d < end && !aligned(d))
    *d++ = fill;
  for (; end - d >= (long)(4 * WORD); d += 4 * WORD) {
    word *w = (word *)d;
    w[0] = w[1] = w[2] = w[3] = fill;
  }
  for (; end - d >= (long)WORD; d += WORD)
    *(word *)d = fill;
  while (d < end)
    *d++ = fill;
  return dst;
}

// From the first byte up: right when dst is below src, or they do not overlap.
static void copy_up(uchar *d, const uchar *s, uint64 n) {
  uchar *end = d + n;

  if (aligned_alike(d, s)) {
    while (d < end && !aligned(d))
      *d++ = *s++;
    for (; end - d >= (long)(4 * WORD); d += 4 * WORD, s += 4 * WORD) {
      const word *from = (const word *)s;
      word *to = (word *)d, a = from[0], b = from[1], c = from[2], e = from[3];
      to[0] = a, to[1] = b, to[2] = c, to[3] = e;
    }
    for (; end - d >= (long)WORD; d += WORD, s += WORD)
      *(word *)d = *(const word *)s;
  }
  while (d < end)
    *d++ = *s++;
}

// From the last byte down: right when dst is above src.
static void copy_down(uchar *dst, const uchar *src, uint64 n) {
  uchar *d = dst + n;
  const uchar *s = src + n;

  if (aligned_alike(d, s)) {
    while (d > dst && !aligned(d))
      *--d = *--s;
    while (d - dst >= (long)WORD) {
      d -= WORD, s -= WORD;
      *(word *)d = *(const word *)s;
    }
  }
  while (d > dst)
    *--d = *--s;
}

void *memmove(void *dst, const void *src, int n) {
  if (n <= 0)
    return dst;
  if ((uint64)dst - (uint64)src >= (uint64)n) // one comparison: below src wraps to a large number
    copy_up(dst, src, n);
  else
    copy_down(dst, src, n);
  return dst;
}

void *memcpy(void *dst, const void *src, uint n) {
  copy_up(dst, src, n);
  return dst;
}

int memcmp(const void *a, const void *b, uint n) {
  const uchar *p = a, *q = b, *end = p + n;

  if (aligned_alike(p, q)) {
    while (p < end && !aligned(p) && *p == *q)
      p++, q++;
    if (aligned(p))
      while (end - p >= (long)WORD && *(const word *)p == *(const word *)q)
        p += WORD, q += WORD;
  }
  for (; p < end; p++, q++)
    if (*p != *q)
      return *p - *q;
  return 0;
}

// Reads whole words, beyond the terminator too: an aligned word never reaches into another page.
uint strlen(const char *s) {
  const char *p = s;

  for (; !aligned(p); p++)
    if (*p == 0)
      return p - s;
  while (!zero_byte(*(const word *)p))
    p += WORD;
  while (*p)
    p++;
  return p - s;
}

char *strcpy(char *dst, const char *src) {
  return memcpy(dst, src, strlen(src) + 1);
}

int strcmp(const char *a, const char *b) {
  if (aligned_alike(a, b)) {
    while (!aligned(a) && *a && *a == *b)
      a++, b++;
    if (aligned(a))
      while (*(const word *)a == *(const word *)b && !zero_byte(*(const word *)a))
        a += WORD, b += WORD;
  }
  while (*a && *a == *b)
    a++, b++;
  return (uchar)*a - (uchar)*b;
}

// First c in s, or 0; the terminator is never found, as in xv6.
char *strchr(const char *s, char c) {
  while (*s && *s != c)
    s++;
  return *s ? (char *)s : 0;
}

// Decimal digits up to the first other character; no sign, as in xv6.
int atoi(const char *s) {
  uint value = 0; // overflow wraps, which an int may not

  for (uint digit; (digit = (uint)*s - '0') < 10; s++)
    value = 10 * value + digit;
  return value;
}

// Reads byte by byte: what follows the line belongs to whoever reads next.
char *gets(char *buf, int max) {
  int n = 0;

  while (n < max - 1 && read(0, &buf[n], 1) == 1) {
    char c = buf[n++];
    if (c == '\n' || c == '\r')
      break;
  }
  if (max > 0)
    buf[n] = 0;
  return buf;
}

int stat(const char *path, struct stat *st) {
  int fd = open(path, O_RDONLY);

  if (fd < 0)
    return -1;
  int result = fstat(fd, st);
  close(fd);
  return result;
}

char *sbrk(int n) {
  return sys_sbrk(n, SBRK_EAGER);
}

char *sbrklazy(int n) {
  return sys_sbrk(n, SBRK_LAZY);
}
