// Who waits for what. Sleepers stand in buckets by the address they sleep on, so a wakeup looks only where its
// sleepers can be. A bucket's lock guards the state, channel and links of the processes in it.
#include "kernel/lib/lib.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/sched.h"
#include "kernel/trace/trace.h"

#define BUCKETS 64

struct bucket {
  struct spinlock lock;
  struct proc *first;
};

static struct bucket buckets[BUCKETS];

uint ticks; // written by hart 0's timer under timer_lock; read anywhere

struct alarm {
  uint64 due; // tick
  struct alarm *next;
};
static struct spinlock timer_lock; // guards alarms and ticks
static struct alarm *alarms;       // of the processes in sleep_ticks(), earliest first

void sleepinit(void) {
  for (int i = 0; i < BUCKETS; i++)
    initlock(&buckets[i].lock, RANK_SLEEPERS);
  initlock(&timer_lock, RANK_TIMER);
}

static struct bucket *bucket_of(const void *chan) {
  uint64 x = (uint64)chan;
  return &buckets[(x >> 3 ^ x >> 9 ^ x >> 15) % BUCKETS];
}

static void link(struct bucket *b, struct proc *p) {
  p->chan_next = b->first;
  p->chan_prev = &b->first;
  if (b->first)
    b->first->chan_prev = &p->chan_next;
  b->first = p;
}

// Takes p, asleep in a bucket whose lock is held, out of it and makes it runnable.
static void wake(struct proc *p) {
  *p->chan_prev = p->chan_next;
  if (p->chan_next)
    p->chan_next->chan_prev = p->chan_prev;
  void *chan = p->chan;
  WRITE_ONCE(p->chan, 0);
  make_runnable(p);
  trace(TRACE_WAKEUP, p->pid, (uint64)chan, READ_ONCE(p->hart));
}

// From here on a wakeup finds p, even before it has left the hart (sched.c copes). lk is let go only then.
static int block(void *chan, struct spinlock *lk, int killable) {
  struct proc *p = myproc();
  struct bucket *b = bucket_of(chan);
  acquire(&b->lock);
  // kill() sets killed, then looks at chan; we the other way round: one of us sees the other.
  __atomic_store_n(&p->chan, chan, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (killable && p->killed) {
    WRITE_ONCE(p->chan, 0);
    release(&b->lock);
    return -1;
  }
  trace(TRACE_SLEEP, (uint64)chan);
  p->killable = killable;
  WRITE_ONCE(p->state, SLEEPING);
  link(b, p);
  release(lk);
  push_off();
  release(&b->lock);
  sched();
  pop_off();
  acquire(lk);
  return killable && p->killed ? -1 : 0;
}

void sleep(void *chan, struct spinlock *lk) {
  block(chan, lk, 0);
}

int sleep_killable(void *chan, struct spinlock *lk) {
  return block(chan, lk, 1);
}

void wakeup(void *chan) {
  struct bucket *b = bucket_of(chan);
  // No one can be missed: a sleeper links itself while it still holds the lock under which its caller made
  // the condition true, or checks the condition after we did.
  acquire(&b->lock);
  struct proc *next;
  for (struct proc *p = b->first; p; p = next) {
    next = p->chan_next;
    if (p->chan == chan)
      wake(p);
  }
  release(&b->lock);
}

int unsleep(struct proc *p) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  void *chan = __atomic_load_n(&p->chan, __ATOMIC_SEQ_CST);
  if (!chan)
    return 0;
  struct bucket *b = bucket_of(chan);
  acquire(&b->lock);
  int asleep = p->state == SLEEPING && p->chan == chan && p->killable;
  if (asleep)
    wake(p);
  release(&b->lock);
  return asleep;
}

int sleep_ticks(uint64 n) {
  acquire(&timer_lock);
  struct alarm mine = {.due = ticks + n};
  struct alarm **at = &alarms;
  while (*at && (*at)->due <= mine.due)
    at = &(*at)->next;
  mine.next = *at;
  *at = &mine;
  int result = 0;
  while (result == 0 && ticks < mine.due)
    result = sleep_killable(&mine, &timer_lock);
  for (at = &alarms; *at != &mine; at = &(*at)->next)
    ;
  *at = mine.next;
  release(&timer_lock);
  return result;
}

void tick(uint n) {
  acquire(&timer_lock);
  WRITE_ONCE(ticks, ticks + n);
  for (struct alarm *a = alarms; a && a->due <= ticks; a = a->next)
    wakeup(a);
  release(&timer_lock);
}
