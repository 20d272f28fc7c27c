// Spans of memory and copies to and from them (mm/user.h). The copy loops are in mm/ucopy.S; a fault in them goes
// through kerneltrap() to the process's own page fault handler, and what that refuses comes back here as -1.
#include "kernel/mm/user.h"
#include "kernel/lib/lib.h"
#include "kernel/memlayout.h"
#include "kernel/mm/mapping.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

// ucopy.S. 0, or -1 after a fault.
int user_copy(void *dst, const void *src, uint64 n);
int user_zero(void *dst, uint64 n);
int user_probe_read(uint64 va, uint64 n);                     // touches every page of [va, va+n), n not 0
int user_probe_write(uint64 va, uint64 n);                    // the same, as a store does
int user_copy_string(char *dst, const char *src, uint64 max); // bytes copied before the terminator, -1 also without one

int user_span(struct span *s, uint64 va, uint64 size) {
  if (size > USERTOP || va > USERTOP - size)
    return -1;
  *s = (struct span){.address = va, .size = size, .user = 1};
  return 0;
}

struct span kernel_span(const void *p, uint64 size) {
  return (struct span){.address = (uint64)p, .size = size, .user = 0};
}

struct span span_part(struct span s, uint64 offset, uint64 size) {
  if (offset > s.size || size > s.size - offset)
    panic("span_part: [%lu, +%lu) is not in a span of %lu bytes", offset, size, s.size);
  return (struct span){.address = s.address + offset, .size = size, .user = s.user};
}

int span_check(struct span s, enum access access) {
  if (!s.user || s.size == 0)
    return 0;
  return access == ACCESS_WRITE ? user_probe_write(s.address, s.size) : user_probe_read(s.address, s.size);
}

int span_read(void *dst, struct span src, uint64 offset, uint64 n) {
  struct span part = span_part(src, offset, n);
  if (part.user)
    return user_copy(dst, (const void *)part.address, n);
  memmove(dst, (const void *)part.address, n);
  return 0;
}

int span_write(struct span dst, uint64 offset, const void *src, uint64 n) {
  struct span part = span_part(dst, offset, n);
  if (part.user)
    return user_copy((void *)part.address, src, n);
  memmove((void *)part.address, src, n);
  return 0;
}

int span_zero(struct span dst, uint64 offset, uint64 n) {
  struct span part = span_part(dst, offset, n);
  if (part.user)
    return user_zero((void *)part.address, n);
  memset((void *)part.address, 0, n);
  return 0;
}

int copyin(void *dst, uint64 va, uint64 n) {
  struct span s;
  return user_span(&s, va, n) < 0 ? -1 : span_read(dst, s, 0, n);
}

int copyout(uint64 va, const void *src, uint64 n) {
  struct span s;
  return user_span(&s, va, n) < 0 ? -1 : span_write(s, 0, src, n);
}

int copyinstr(char *dst, uint64 va, int max) {
  if (va >= USERTOP)
    return -1;
  uint64 room = USERTOP - va;
  return user_copy_string(dst, (const char *)va, room < (uint64)max ? room : (uint64)max);
}
