// The kernel's page-table entries and constants; what takes a RISC-V instruction is the host's.
#pragma once
#include "../../../kernel/riscv.h"
#include <time.h>

static inline uint64 host_time(void) { // in tenths of a microsecond, as QEMU's timer counts
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 10000000UL + t.tv_nsec / 100;
}
#undef csr_read
#define csr_read(csr) host_time() // no other register is read on the host

#ifdef __SANITIZE_THREAD__ // it knows no fences; nothing is traced under it
#define fence_stores() ((void)0)
#else
#define fence_stores() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif
