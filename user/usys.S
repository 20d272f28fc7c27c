// The border between a program and the kernel: the entry point, and a stub for each call in kernel/syscall.h.
// Stubs are weak, so that a program may define a function with the name of a call it does not know.
#define sbrk sys_sbrk // user.h's sbrk() takes one argument; ulib.c adds the second
#include "kernel/syscall.h"

        // exec() enters here with a0 = argc, a1 = argv. ra and the frame pointer are zeroed to end backtraces.
        .section .text.start, "ax", @progbits
        .globl  _main
        .weak   start
        .type   start, @function
        .type   _main, @function
start:
_main:
        li      ra, 0
        li      s0, 0
        call    main
        call    exit
        .size   start, . - start
        .size   _main, . - _main

        .text
        .macro  stub name, number
        .weak   \name
        .type   \name, @function
\name:
        li      a7, \number
        ecall
        ret
        .size   \name, . - \name
        .endm

#define X(number, name) stub name, number;
        SYSCALLS(X)
#undef X

        .weak   pause
        .set    pause, sleep
