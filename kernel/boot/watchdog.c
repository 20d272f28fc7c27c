// Debug builds: every hart counts its interrupts, of whatever kind, and once a second looks whether the others still
// count theirs; the timer makes sure that there are some. One that counts none for LOOKS looks has had interrupts off
// all that time, and is named. Where it stands is asked of machine mode, which no supervisor can keep out: the ring of
// ring_hart() enters machine_vector, and that notes the pc.
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"
#include "kernel/proc/proc.h"

#ifdef DEBUG

#define LOOKS 10

static uint64 beats[NCPU];    // interrupts each hart took; its own hart writes
static uint64 reported[NCPU]; // 1 + the beat at which a hart was last said to be stuck; atomic

// What each hart knows of each other one; private to it.
static struct watch {
  uint64 beat; // seen last
  int looks;   // in which it has not changed
} watched[NCPU][NCPU];
static uint64 next_look[NCPU]; // private to each hart

// The pc of a hart that answers machine mode only; 0 if not even that.
static uint64 pc_of(int hart) {
  uint64 end = time_now() + machine.timer_frequency; // a second: the hart may be a thread of a busy host
  uint64 pc = 0;
  __atomic_store_n(&machine_scratch[hart].pc, 0, __ATOMIC_SEQ_CST);
  ring_hart(hart);
  while ((pc = __atomic_load_n(&machine_scratch[hart].pc, __ATOMIC_ACQUIRE)) == 0 && time_now() < end)
    ;
  return pc;
}

static void report(int hart, uint64 beat) {
  if (__atomic_exchange_n(&reported[hart], beat + 1, __ATOMIC_RELAXED) == beat + 1)
    return; // another hart has said it
  struct cpu *c = &cpus[hart];
  struct proc *p = READ_ONCE(c->proc);
  struct spinlock *lk = READ_ONCE(c->waiting);
  printf("stuck: hart %d has had interrupts off for %d s, pid %d %s, pc 0x%lx, waits for %s\n", hart, LOOKS,
         p ? p->pid : 0, p ? p->name : "(scheduler)", pc_of(hart), lk ? lk->name : "no lock");
}

void watchdog(void) {
  int me = mycpu()->id;
  WRITE_ONCE(beats[me], beats[me] + 1);
  uint64 now = time_now();
  if (now < next_look[me])
    return;
  next_look[me] = now + machine.timer_frequency;
  for (int i = 0; i < ncpu; i++) {
    struct watch *w = &watched[me][i];
    uint64 beat = READ_ONCE(beats[i]);
    if (i == me || beat != w->beat || !READ_ONCE(cpus[i].online))
      *w = (struct watch){.beat = beat};
    else if (++w->looks == LOOKS)
      report(i, beat);
  }
}

#endif
