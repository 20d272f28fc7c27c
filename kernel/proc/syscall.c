// System calls: the number in a7 picks a function from the table, its result goes to a0.
#include "kernel/proc/syscall.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/user.h"
#include "kernel/proc/proc.h"
#include "kernel/syscall.h"
#include "kernel/trace/trace.h"

#define X(number, name) uint64 sys_##name(void);
SYSCALLS(X)
#undef X

#define CALLS 64 // the table's length

static uint64 (*const calls[CALLS])(void) = {
#define X(number, name) [number] = sys_##name,
    SYSCALLS(X)
#undef X
};

int argstr(int n, char *buf, int max) {
  return copyinstr(buf, argument(n), max);
}

static seldom uint64 unknown_call(struct proc *p, uint64 number) {
  printf("pid %d %s: unknown system call %lu\n", p->pid, p->name, number);
  return -1;
}

// The same with both events around it; apart, so that a call nobody watches pays for one test. A mark is its own event.
static seldom void traced_call(struct trapframe *tf, uint64 (*call)(void)) {
  uint64 number = tf->a7;
  if (number == SYS_trace_mark) {
    tf->a0 = call();
    return;
  }
  trace(TRACE_SYS_ENTER, number, tf->a0, tf->a1, tf->a2, tf->a3);
  tf->a0 = call ? call() : unknown_call(myproc(), number);
  trace(TRACE_SYS_EXIT, number, tf->a0);
}

void syscall(void) {
  struct trapframe *tf = myproc()->trapframe;
  uint64 (*call)(void) = tf->a7 < CALLS ? calls[tf->a7] : 0;
  fail_call_begins(tf->a7);
  if (READ_ONCE(trace_mask) & (1UL << TRACE_SYS_ENTER | 1UL << TRACE_SYS_EXIT))
    traced_call(tf, call);
  else
    tf->a0 = call ? call() : unknown_call(myproc(), tf->a7);
  fail_call_ends(tf->a0);
}
