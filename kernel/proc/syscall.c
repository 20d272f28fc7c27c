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

static uint64 (*const calls[])(void) = {
#define X(number, name) [number] = sys_##name,
    SYSCALLS(X)
#undef X
};

int argstr(int n, char *buf, int max) {
  return copyinstr(buf, argument(n), max);
}

void syscall(void) {
  struct proc *p = myproc();
  struct trapframe *tf = p->trapframe;
  uint64 number = tf->a7;
  if (number >= sizeof(calls) / sizeof(calls[0]) || !calls[number]) {
    printf("pid %d %s: unknown system call %lu\n", p->pid, p->name, number);
    tf->a0 = -1;
    return;
  }
  trace(TRACE_SYS_ENTER, number, tf->a0, tf->a1, tf->a2, tf->a3);
  tf->a0 = calls[number]();
  trace(TRACE_SYS_EXIT, number, tf->a0);
}
