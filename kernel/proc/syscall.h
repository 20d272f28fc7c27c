// How a system call reads its arguments: register n of the caller, as a number, a pointer's value or a string.
// Strings and buffers are checked where they are used (mm/user.h).
#pragma once
#include "kernel/proc/proc.h"

// Registers a0 to a5 of the caller, untouched.
static inline const uint64 *arguments(void) {
  return &myproc()->trapframe->a0;
}
// One of them.
static inline uint64 argument(int n) {
  return arguments()[n];
}
// Its low 32 bits.
static inline int argint(int n) {
  return (int)argument(n);
}
int argstr(int n, char *buf,
           int max); // bytes before the terminator, or -1 (bad address, or no terminator in max bytes)
void syscall(void);
