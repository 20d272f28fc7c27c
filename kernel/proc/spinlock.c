// Spinlocks: mutual exclusion between harts, with interrupts off on the holder's. What they seldom do stands in
// proc/lock_slow.c. Compiled without frame pointers (Makefile), since nothing here calls a function but as its last
// act, which then returns to, and in a backtrace stands above, whoever wanted the lock. Debug builds have them: there
// every acquisition checks the order.
#include "kernel/proc/lock_slow.h"
#include "kernel/riscv.h"

static const char *const rank_names[] = {
#define X(rank, name, guards) [rank] = name,
    LOCK_RANKS(X)
#undef X
};

void initlock(struct spinlock *lk, enum lock_rank rank) {
  *lk = (struct spinlock){.rank = rank, .name = rank_names[rank]};
}

void push_off(void) {
  uint64 before = csr_fetch_clear(sstatus, SSTATUS_SIE);
  struct cpu *c = mycpu();
  if (c->noff++ == 0)
    c->intena = before & SSTATUS_SIE;
}

void pop_off(void) {
  struct cpu *c = mycpu();
  int depth = --c->noff;
  if (depth < 0)
    pop_refused();
  else if (depth == 0 && c->intena)
    csr_set(sstatus, SSTATUS_SIE);
}

int holding(struct spinlock *lk) {
  return READ_ONCE(lk->cpu) == mycpu();
}

void acquire(struct spinlock *lk) {
  uint64 pc = return_address();
  push_off();
  struct cpu *c = mycpu();
  check_order(c, lk, pc);
  if (try_lock(lk))
    taken(c, lk, pc);
  else
    acquire_contended(c, lk, pc);
}

void release(struct spinlock *lk) {
  if (!holding(lk)) {
    release_refused(lk);
    return;
  }
  note_released(mycpu(), lk);
  WRITE_ONCE(lk->cpu, 0);
  __atomic_store_n(&lk->locked, 0, __ATOMIC_RELEASE);
  pop_off();
}
