// User memory, reached safely. A span is a range checked against wrap-around and the end of user memory; nothing
// else may carry a user address. Copies run with the page faults of the caller: lazy pages are filled, copy-on-write
// pages copied, and what the program itself could not access is refused. Implemented by mm/user.c and mm/ucopy.S.
#pragma once
#include "kernel/types.h"

struct span {
  uint64 address;
  uint64 size; // bytes
  int user;    // 1: in the caller's memory, 0: kernel memory
};

int user_span(struct span *s, uint64 va, uint64 size); // 0, or -1 if it wraps or leaves user memory
struct span kernel_span(const void *p, uint64 size);
// [offset, offset+size) of s. Panics if that is not inside s: callers take parts of what they checked.
struct span span_part(struct span s, uint64 offset, uint64 size);

// Makes every page of s present and accessible in the way asked for, so that a copy that follows has no failure left
// but another process unmapping it meanwhile. 0, or -1. Call it before an operation with side effects.
enum access { ACCESS_READ, ACCESS_WRITE };
int span_check(struct span s, enum access access);

// Copy n bytes; 0, or -1 after a fault (what was copied until then stays). Spinlocks may be held.
int span_read(void *dst, struct span src, uint64 offset, uint64 n);
int span_write(struct span dst, uint64 offset, const void *src, uint64 n);
int span_zero(struct span dst, uint64 offset, uint64 n);

// For single values.
int copyin(void *dst, uint64 va, uint64 n);
int copyout(uint64 va, const void *src, uint64 n);
int copyinstr(char *dst, uint64 va, int max); // bytes before the terminator, or -1
