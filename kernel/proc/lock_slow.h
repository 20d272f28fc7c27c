// Between proc/spinlock.c and proc/lock_slow.c: what both need of a lock, and what seldom happens to one.
#pragma once
#include "kernel/lib/races.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

static inline int try_lock(struct spinlock *lk) {
  return __atomic_exchange_n(&lk->locked, 1, __ATOMIC_ACQUIRE) == 0;
}

#ifdef DEBUG
void check_order(struct cpu *c, struct spinlock *lk, uint64 pc); // panics if c may not take lk with what it holds
void note_held(struct cpu *c, struct spinlock *lk);
void note_released(struct cpu *c, struct spinlock *lk);
#else
#define check_order(c, lk, pc) ((void)(pc))
#define note_held(c, lk) ((void)(c))
#define note_released(c, lk) ((void)(c))
#endif

// Notes that hart c, at pc, has got lk.
static inline void taken(struct cpu *c, struct spinlock *lk, uint64 pc) {
  WRITE_ONCE(lk->cpu, c);
  WRITE_ONCE(lk->pc, pc);
  note_held(c, lk);
}

void acquire_contended(struct cpu *c, struct spinlock *lk, uint64 pc); // waits until lk is free, and takes it
void release_refused(struct spinlock *lk);                             // these two panic
void pop_refused(void);
