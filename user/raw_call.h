// A system call by its number, past the library: for programs that pass what no prototype lets through.
// Relies on the calling convention of the kernel: number in a7, up to six arguments in a0 to a5, result in a0.
#pragma once
#include "kernel/types.h"

#define RAW_ARGS 6

static inline uint64 raw_call(uint64 number, const uint64 args[RAW_ARGS]) {
  uint64 a = args[0], b = args[1], c = args[2], d = args[3], e = args[4], f = args[5];
  register uint64 a0 __asm__("a0") = a;
  register uint64 a1 __asm__("a1") = b;
  register uint64 a2 __asm__("a2") = c;
  register uint64 a3 __asm__("a3") = d;
  register uint64 a4 __asm__("a4") = e;
  register uint64 a5 __asm__("a5") = f;
  register uint64 a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
  return a0;
}
