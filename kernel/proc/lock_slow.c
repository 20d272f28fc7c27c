// What spinlocks seldom do: wait, which reports itself if it lasts too long, and refuse. Debug builds check every
// acquisition against the order of lock_ranks.h.
#include "kernel/proc/lock_slow.h"
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/vm.h"
#include "kernel/trace/trace.h"

#define STUCK_SECONDS 10

#ifdef DEBUG
// Bit i of [o]: a lock of rank i has been taken while one of rank o was held. Only grows; docs/locks.md draws it.
static uint32 lock_nestings[LOCK_RANK_COUNT];

// May this hart take lk at pc, with what it holds? Only if everything held stands earlier in the order.
void check_order(struct cpu *c, struct spinlock *lk, uint64 pc) {
  for (int i = 0; i < c->held_count; i++) {
    struct spinlock *outer = c->held[i];
    if (outer->rank > lk->rank || (outer->rank == lk->rank && outer > lk))
      panic("lock order: %s (0x%lx) is taken at 0x%lx while %s (0x%lx) is held since 0x%lx", lk->name, (uint64)lk, pc,
            outer->name, (uint64)outer, outer->pc);
    if (!(__atomic_load_n(&lock_nestings[outer->rank], __ATOMIC_RELAXED) >> lk->rank & 1))
      __atomic_fetch_or(&lock_nestings[outer->rank], 1U << lk->rank, __ATOMIC_RELAXED);
  }
  if (c->held_count == HELD_MAX)
    panic("lock order: more than %d locks held, taking %s at 0x%lx", HELD_MAX, lk->name, pc);
}

void note_held(struct cpu *c, struct spinlock *lk) {
  c->held[c->held_count++] = lk;
}

void note_released(struct cpu *c, struct spinlock *lk) {
  int i = c->held_count - 1;
  while (c->held[i] != lk)
    i--;
  for (c->held_count--; i < c->held_count; i++)
    c->held[i] = c->held[i + 1];
}
#endif

// A hart that waits for itself would wait for ever.
static void check_not_mine(struct cpu *c, struct spinlock *lk, uint64 pc) {
  if (READ_ONCE(lk->cpu) == c)
    panic("acquire: %s (0x%lx) at 0x%lx is held by this hart since 0x%lx", lk->name, (uint64)lk, pc, lk->pc);
}

// Spins until lk is free. Serves TLB shootdowns meanwhile: their asker may hold lk.
void acquire_contended(struct cpu *c, struct spinlock *lk, uint64 pc) {
  check_not_mine(c, lk, pc);
  uint64 since = time_now(), patience = STUCK_SECONDS * machine.timer_frequency;
  c->waiting = lk;
  do {
    while (READ_ONCE(lk->locked)) {
      tlb_poll();
      if (panicked)
        stop_hart();
      if (lk->rank != RANK_PRINT && time_now() - since > patience) { // who waits to print can't say so
        struct cpu *holder = READ_ONCE(lk->cpu);
        printf("stuck: hart %d waits at 0x%lx for lock %s (0x%lx), held by hart %d since 0x%lx\n", c->id, pc, lk->name,
               (uint64)lk, holder ? holder->id : -1, READ_ONCE(lk->pc));
        patience += STUCK_SECONDS * machine.timer_frequency;
      }
    }
  } while (!try_lock(lk));
  c->waiting = 0;
  taken(c, lk, pc);
  trace(TRACE_CONTEND, (uint64)lk, lk->rank, time_now() - since, pc);
}

void release_refused(struct spinlock *lk) {
  panic("release: %s (0x%lx) is not held by this hart", lk->name, (uint64)lk);
}

void pop_refused(void) {
  panic("pop_off: without a push_off");
}
