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

static inline uint64 do_call(uint64 (*call)(void), struct trapframe *tf) {
  return call ? call() : unknown_call(myproc(), tf->a7);
}

// A call that nobody watches pays for one test of both its events. A mark is its own event.
void syscall(void) {
  struct trapframe *tf = myproc()->trapframe;
  uint64 (*call)(void) = tf->a7 < CALLS ? calls[tf->a7] : 0;
  fail_call_begins(tf->a7);
  if (tracing(1UL << TRACE_SYS_ENTER | 1UL << TRACE_SYS_EXIT) && tf->a7 != SYS_trace_mark) {
    trace(TRACE_SYS_ENTER, tf->a7, tf->a0, tf->a1, tf->a2, tf->a3);
    tf->a0 = do_call(call, tf);
    trace(TRACE_SYS_EXIT, tf->a7, tf->a0);
  } else {
    tf->a0 = do_call(call, tf);
  }
  fail_call_ends(tf->a0);
}
