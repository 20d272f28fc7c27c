// Who runs where. Each hart has a queue of runnable processes and a scheduler on a stack of its own; a hart with
// nothing to do takes from another's queue, and sleeps in wfi when there is nothing anywhere.
//
// A process may be made runnable while it is still on its way off a hart: on_hart says so, and whoever wants to run
// it waits for that to fall. A hart lets go of a process only when it has another page table than that process's in
// satp, so that exit may free the table.
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/audit.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/fp.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/sched.h"
#include "kernel/trace/trace.h"

struct run_queue {
  struct spinlock lock; // guards the fields below and run_next of the processes in it
  struct proc *first;   // other harts look whether there is one, and take the lock if there is
  struct proc *last;
  int length;
};

static struct run_queue run_queues[NCPU];
static uint64 idle_harts; // bit i: hart i is about to sleep, or sleeps, in wfi; atomic

void schedinit(void) {
  for (int i = 0; i < NCPU; i++)
    initlock(&run_queues[i].lock, RANK_RUN_QUEUE);
}

static void enqueue(struct run_queue *q, struct proc *p, int in_front) {
  acquire(&q->lock);
  p->run_next = in_front ? q->first : 0;
  if (in_front || !q->first)
    WRITE_ONCE(q->first, p);
  else
    q->last->run_next = p;
  if (!p->run_next)
    q->last = p;
  q->length++;
  release(&q->lock);
}

static struct proc *dequeue(struct run_queue *q) {
  if (!READ_ONCE(q->first))
    return 0;
  acquire(&q->lock);
  struct proc *p = q->first;
  if (p) {
    WRITE_ONCE(q->first, p->run_next);
    q->length--;
  }
  release(&q->lock);
  return p;
}

// A hart that has nothing to do, the one given if it is among them; -1 if all are busy. It is no longer idle after.
static int claim_idle_hart(int preferred) {
  uint64 idle = __atomic_load_n(&idle_harts, __ATOMIC_SEQ_CST);
  while (idle) {
    int hart = preferred;
    while (!(idle >> hart & 1))
      hart = (hart + 1) % NCPU;
    uint64 bit = 1UL << hart;
    idle = __atomic_fetch_and(&idle_harts, ~bit, __ATOMIC_SEQ_CST);
    if (idle & bit)
      return hart;
  }
  return -1;
}

// Where p goes next: an idle hart, else this hart's queue. A process that slept goes in front: what it waited for is
// fresh, and a busy program gets its turn back at the next slice.
static void place(struct proc *p, int in_front) {
  push_off();
  int here = mycpu()->id;
  int hart = claim_idle_hart(READ_ONCE(p->hart));
  enqueue(&run_queues[hart < 0 ? here : hart], p, in_front);
  if (hart >= 0)
    ring_hart(hart);
  else if (in_front && mycpu()->proc)
    mycpu()->reschedule = 1;
  pop_off();
}

void make_runnable(struct proc *p) {
  WRITE_ONCE(p->state, RUNNABLE);
  place(p, 1);
}

void slice_over(void) {
  if (READ_ONCE(run_queues[mycpu()->id].first))
    mycpu()->reschedule = 1;
}

void yield(void) {
  struct proc *p = myproc();
  push_off();
  mycpu()->reschedule = 0;
  WRITE_ONCE(p->state, RUNNABLE);
  place(p, 0);
  sched();
  pop_off();
}

void sched(void) {
  struct cpu *c = mycpu();
  struct proc *p = c->proc;
  if (c->noff != 1 || READ_ONCE(p->state) == RUNNING || (csr_read(sstatus) & SSTATUS_SIE))
    panic("sched: pid %d, state %d, %d locks or push_offs", p->pid, READ_ONCE(p->state), c->noff);
  int intena = c->intena;
  fp_leave(p);
  swtch(&p->context, &c->context);
  fp_arrive(p);
  mycpu()->intena = intena; // perhaps another hart
}

static struct proc *pick(int hart) {
  struct proc *p = dequeue(&run_queues[hart]);
  for (int i = 1; !p && i < ncpu; i++)
    p = dequeue(&run_queues[(hart + i) % ncpu]);
  return p;
}

static pagetable_t pagetable_of(struct proc *p) {
  return p && p->pagetable ? p->pagetable : kernel_pagetable;
}

// Makes p this hart's: from here on a change of its page table by another hart must be made known here.
static void claim(struct cpu *c, struct proc *p) {
  WRITE_ONCE(p->hart, c->id);
  __atomic_store_n(&p->on_hart, 1, __ATOMIC_SEQ_CST);
  use_pagetable(pagetable_of(p)); // after on_hart: see tlb_shootdown()
  fence_i();                      // another hart may have loaded its program
}

// From prev, which has just left this hart, to next; either may be 0 for none.
static void hand_over(struct cpu *c, struct proc *prev, struct proc *next) {
  if (prev == next)
    return;
  int elsewhere = next && __atomic_load_n(&next->on_hart, __ATOMIC_ACQUIRE);
  if (next && !elsewhere)
    claim(c, next);
  else
    use_pagetable(kernel_pagetable);
  if (prev)
    __atomic_store_n(&prev->on_hart, 0, __ATOMIC_RELEASE);
  if (elsewhere) {
    while (__atomic_load_n(&next->on_hart, __ATOMIC_ACQUIRE))
      tlb_poll();
    claim(c, next);
  }
}

static void run(struct cpu *c, struct proc *p) {
  WRITE_ONCE(p->state, RUNNING);
  p->trapframe->kernel_hartid = (uint64)c;
  c->proc = p;
  trace_running(c, p->pid);
  c->reschedule = 0;
  timer_start_slice();
  swtch(&c->context, &p->context);
  c->proc = 0;
  trace_running(c, 0);
}

// Sleeps until an interrupt, unless something became runnable after the caller looked.
static void idle(int hart) {
  if (hart == 0)
    audit();
  __atomic_fetch_or(&idle_harts, 1UL << hart, __ATOMIC_SEQ_CST);
  timer_idle();
  int busy = 0;
  for (int i = 0; i < ncpu; i++)
    busy |= __atomic_load_n(&run_queues[i].first, __ATOMIC_SEQ_CST) != 0;
  if (!busy)
    asm volatile("wfi"); // returns for a pending interrupt though interrupts are off
  __atomic_fetch_and(&idle_harts, ~(1UL << hart), __ATOMIC_SEQ_CST);
  csr_set(sstatus, SSTATUS_SIE); // take it
  csr_clear(sstatus, SSTATUS_SIE);
}

void scheduler(void) {
  struct cpu *c = mycpu();
  struct proc *prev = 0;
  c->noff = 1; // as it is after every sched()
  for (;;) {
    struct proc *p = pick(c->id);
    if (p || prev)
      trace(TRACE_SWITCH, prev ? prev->pid : 0, prev ? READ_ONCE(prev->state) : 0, p ? p->pid : 0);
    plant_race();
    hand_over(c, prev, p);
    if (p)
      run(c, p);
    else
      idle(c->id);
    prev = p;
  }
}
