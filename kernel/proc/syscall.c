// System calls: the number in a7 picks a function from the table, its result goes to a0.
#include "kernel/proc/syscall.h"
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

void syscall(void) {
  struct trapframe *tf = myproc()->trapframe;
  uint64 number = tf->a7;
  uint64 (*call)(void) = number < CALLS ? calls[number] : 0;
  trace(TRACE_SYS_ENTER, number, tf->a0, tf->a1, tf->a2, tf->a3);
  tf->a0 = call ? call() : unknown_call(myproc(), number);
  trace(TRACE_SYS_EXIT, tf->a7, tf->a0);
}
