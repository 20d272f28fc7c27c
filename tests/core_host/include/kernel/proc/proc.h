// What the queue and the allocator need of processes and harts, for the host: a thread stands for both
// (tests/core_host/host.c).
#pragma once
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"

#define LOST_MAX 4

struct crypto_client {
  uint open, lost;
  uint64 where[LOST_MAX];
};

struct proc {
  int pid;
  int killed; // atomic
  int pins;   // atomic
  struct spinlock memory_lock;
  pagetable_t pagetable;
  struct crypto_client crypto;
};

struct cpu {
  struct proc *proc;
  uint64 *ring_head;
  uint64 stamp;
  uint64 trace_mask;
  volatile int emitting;
  int id;
};

extern __thread struct cpu this_cpu;
static inline struct cpu *mycpu(void) {
  return &this_cpu;
}
static inline struct proc *myproc(void) {
  return this_cpu.proc;
}
static inline void pin(struct proc *p) {
  __atomic_fetch_add(&p->pins, 1, __ATOMIC_RELAXED);
}
static inline void unpin(struct proc *p) {
  __atomic_fetch_sub(&p->pins, 1, __ATOMIC_RELEASE);
}
int sleep_killable(void *chan, struct spinlock *lk);
void wakeup(void *chan);
