// What kernel/fs, the queue, the allocator and the trace rings need of processes and harts, for the host: a thread
// stands for both. It stands before kernel/proc/proc.h in the search; who compiles the kernel's files defines the rest.
#pragma once
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"

#define LOST_MAX 4

// Where system calls find their arguments.
struct trapframe {
  uint64 a0, a1, a2, a3, a4, a5;
};

struct crypto_client {
  uint open, lost;
  uint64 where[LOST_MAX];
};

struct proc {
  int pid;
  char name[16];
  int killed; // atomic
  int pins;   // atomic
  struct spinlock memory_lock;
  pagetable_t pagetable;
  struct crypto_client crypto;
  struct trapframe *trapframe;
  struct file *ofile[NOFILE];
  struct inode *cwd;
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
extern __thread struct cpu *this_cpu; // of this thread

static inline struct cpu *mycpu(void) {
  return this_cpu;
}
static inline struct proc *myproc(void) {
  return this_cpu->proc;
}
static inline void pin(struct proc *p) {
  __atomic_fetch_add(&p->pins, 1, __ATOMIC_RELAXED);
}
static inline void unpin(struct proc *p) {
  __atomic_fetch_sub(&p->pins, 1, __ATOMIC_RELEASE);
}
void sleep(void *chan, struct spinlock *lk);
int sleep_killable(void *chan, struct spinlock *lk);
void wakeup(void *chan);
