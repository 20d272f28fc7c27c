// User memory is the host's own.
#pragma once
#include <string.h>
#include "kernel/types.h"

struct span {
  char *p;
};
enum access { ACCESS_READ, ACCESS_WRITE };

static inline int user_span(struct span *s, uint64 va, uint64 size) {
  (void)size;
  s->p = (char *)va;
  return va ? 0 : -1;
}
static inline int span_check(struct span s, enum access access) {
  (void)s, (void)access;
  return 0;
}
static inline int span_read(void *dst, struct span s, uint64 offset, uint64 n) {
  memcpy(dst, s.p + offset, n);
  return 0;
}
static inline int span_write(struct span s, uint64 offset, const void *src, uint64 n) {
  memcpy(s.p + offset, src, n);
  return 0;
}
