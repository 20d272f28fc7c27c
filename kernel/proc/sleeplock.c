// Sleep locks: held across waits for the disk, with interrupts on. Each is a flag, guarded by its spinlock,
// that its waiters sleep on.
#include "kernel/lib/lib.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

void initsleeplock(struct sleeplock *lk, const char *name) {
  *lk = (struct sleeplock){.name = name};
  initlock(&lk->lk, RANK_SLEEPLOCK);
}

static void take(struct sleeplock *lk, uint64 pc) {
  lk->locked = 1;
  lk->pid = myproc()->pid;
  lk->pc = pc;
}

void acquiresleep(struct sleeplock *lk) {
  acquire(&lk->lk);
  while (lk->locked)
    sleep(lk, &lk->lk);
  take(lk, (uint64)__builtin_return_address(0));
  release(&lk->lk);
}

int tryacquiresleep(struct sleeplock *lk) {
  acquire(&lk->lk);
  int taken = !lk->locked;
  if (taken)
    take(lk, (uint64)__builtin_return_address(0));
  release(&lk->lk);
  return taken;
}

void releasesleep(struct sleeplock *lk) {
  acquire(&lk->lk);
  if (!lk->locked || lk->pid != myproc()->pid)
    panic("releasesleep: %s (0x%lx) is not held by pid %d", lk->name, (uint64)lk, myproc()->pid);
  lk->locked = 0;
  lk->pid = 0;
  wakeup(lk);
  release(&lk->lk);
}

int holdingsleep(struct sleeplock *lk) {
  acquire(&lk->lk);
  int held = lk->locked && lk->pid == myproc()->pid;
  release(&lk->lk);
  return held;
}
