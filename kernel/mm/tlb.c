// Making other harts forget translations. The asker bumps the other hart's request count, rings it and waits until
// its done count catches up. A hart that spins for a lock with interrupts off serves requests in its spin loop,
// so the asker may hold locks while it waits.
#include "kernel/boot/boot.h"
#include "kernel/lib/races.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/proc.h"

// A process starts on a hart by setting on_hart, then loading satp, which forgets everything; so one that is not on a
// hart, seen after our change of its table, can't see the old table any more.
void tlb_shootdown(struct proc *p) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!p->on_hart || READ_ONCE(p->hart) == mycpu()->id) {
    sfence_vma();
    return;
  }
  int hart = READ_ONCE(p->hart);
  struct cpu *c = &cpus[hart];
  uint64 ticket = __atomic_add_fetch(&c->tlb_request, 1, __ATOMIC_SEQ_CST);
  ring_hart(hart);
  while (__atomic_load_n(&c->tlb_done, __ATOMIC_ACQUIRE) < ticket)
    tlb_poll();
}

void tlb_poll(void) {
  struct cpu *c = mycpu();
  uint64 request = __atomic_load_n(&c->tlb_request, __ATOMIC_ACQUIRE);
  if (request == c->tlb_done)
    return;
  sfence_vma();
  __atomic_store_n(&c->tlb_done, request, __ATOMIC_RELEASE);
}
