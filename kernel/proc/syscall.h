// How a system call reads its arguments: register n of the caller, as a number, a pointer's value or a string.
// Strings and buffers are checked where they are used (mm/user.h).
#pragma once
#include "kernel/types.h"

uint64 argument(int n); // register a0+n of the caller, untouched
int argint(int n);      // its low 32 bits
int argstr(int n, char *buf,
           int max); // bytes before the terminator, or -1 (bad address, or no terminator in max bytes)
void syscall(void);
