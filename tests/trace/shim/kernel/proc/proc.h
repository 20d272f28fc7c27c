// The little of the kernel that kernel/trace/ rests on, for tests/trace/ring_host.c: one hart that is a host thread.
#pragma once
#include <string.h>
#include <time.h>
#include "kernel/param.h"
#include "kernel/types.h"

struct proc {
  int pid;
  char name[16];
};

struct cpu {
  struct proc *proc;
  uint64 *ring_head;
  uint64 stamp;
  uint64 trace_mask;
  volatile int emitting;
  int id;
};

extern struct cpu cpus[NCPU];
extern int ncpu;
extern __thread struct cpu *this_cpu;

static inline struct cpu *mycpu(void) {
  return this_cpu;
}

static inline uint64 host_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 10000000UL + t.tv_nsec / 100;
}
#define csr_read(csr) host_time()
#define fence_stores() __atomic_thread_fence(__ATOMIC_RELEASE)
