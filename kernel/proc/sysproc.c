// System calls about processes, memory and time.
#include "kernel/info.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/user.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/syscall.h"

uint64 sys_fork(void) {
  return fork();
}

uint64 sys_exit(void) {
  exit(argint(0));
}

uint64 sys_wait(void) {
  return wait(argument(0));
}

uint64 sys_kill(void) {
  return kill(argint(0));
}

uint64 sys_getpid(void) {
  return myproc()->pid;
}

// A program built for xv6 2022 passes one argument and leaves anything in the second register.
uint64 sys_sbrk(void) {
  return uvmgrow(myproc(), argint(0), argint(1) == SBRK_LAZY ? SBRK_LAZY : SBRK_EAGER);
}

uint64 sys_sleep(void) {
  int n = argint(0);
  return n <= 0 ? 0 : sleep_ticks(n);
}

uint64 sys_uptime(void) {
  return READ_ONCE(ticks);
}

// One process's row; 0 if the slot holds none. The tree lock makes names and parents belong together; pages are counted
// without it.
static int describe(struct proc *p, struct procinfo *row) {
  acquire(&tree_lock);
  int alive = READ_ONCE(p->state) != UNUSED && p->pid;
  if (alive) {
    *row = (struct procinfo){.pid = p->pid,
                             .parent = p->parent ? p->parent->pid : 0,
                             .state = READ_ONCE(p->state),
                             .hart = READ_ONCE(p->hart),
                             .size = READ_ONCE(p->sz)};
    safestrcpy(row->name, p->name, sizeof(row->name));
    pin(p);
  }
  release(&tree_lock);
  if (alive) {
    uvmcount(p, &row->pages, &row->shared);
    unpin(p);
  }
  return alive;
}

uint64 sys_procinfo(void) {
  struct span rows;
  int max = argint(1), n = 0;
  if (max < 0 || user_span(&rows, argument(0), (uint64)max * sizeof(struct procinfo)) < 0)
    return -1;
  for (struct proc *p = proc; p < &proc[NPROC] && n < max; p++) {
    struct procinfo row;
    if (!describe(p, &row))
      continue;
    if (span_write(rows, n * sizeof(row), &row, sizeof(row)) < 0)
      return -1;
    n++;
  }
  return n;
}

uint64 sys_meminfo(void) {
  struct meminfo info = {.total = nframes - first_frame, .free = READ_ONCE(kmem.nfree), .page = PGSIZE};
  for (uint32 i = first_frame; i < nframes; i++)
    info.shared += READ_ONCE(frames[i].count) > 1;
  return copyout(argument(0), &info, sizeof(info));
}
