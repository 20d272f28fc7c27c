# Copies to and from the running program's memory, at its own addresses: sstatus.SUM lets supervisor mode use them.
# Every access between user_copy_start and user_copy_end may fault; if the page can't be had, kerneltrap() goes on
# at user_copy_fault. All are leaf functions that use only argument and temporary registers.
#include "kernel/riscv.h"

.text
.global user_copy_start, user_copy_end, user_copy_fault
user_copy_start:

# int user_copy(void *dst, const void *src, uint64 n)
.global user_copy
user_copy:
    li      t6, SSTATUS_SUM
    csrs    sstatus, t6
    or      t0, a0, a1
    andi    t0, t0, 7
    bnez    t0, copy_bytes      # words need both ends aligned alike; aligned is the case that matters
    li      t1, 64
    bltu    a2, t1, copy_words
copy_lines:
    ld      t0, 0(a1)
    ld      t2, 8(a1)
    ld      t3, 16(a1)
    ld      t4, 24(a1)
    sd      t0, 0(a0)
    sd      t2, 8(a0)
    sd      t3, 16(a0)
    sd      t4, 24(a0)
    ld      t0, 32(a1)
    ld      t2, 40(a1)
    ld      t3, 48(a1)
    ld      t4, 56(a1)
    sd      t0, 32(a0)
    sd      t2, 40(a0)
    sd      t3, 48(a0)
    sd      t4, 56(a0)
    addi    a0, a0, 64
    addi    a1, a1, 64
    addi    a2, a2, -64
    bgeu    a2, t1, copy_lines
copy_words:
    li      t1, 8
    bltu    a2, t1, copy_bytes
1:  ld      t0, 0(a1)
    sd      t0, 0(a0)
    addi    a0, a0, 8
    addi    a1, a1, 8
    addi    a2, a2, -8
    bgeu    a2, t1, 1b
copy_bytes:
    beqz    a2, 2f
    add     t1, a1, a2
1:  lbu     t0, 0(a1)
    sb      t0, 0(a0)
    addi    a1, a1, 1
    addi    a0, a0, 1
    bltu    a1, t1, 1b
2:  csrc    sstatus, t6
    li      a0, 0
    ret

# int user_zero(void *dst, uint64 n)
.global user_zero
user_zero:
    li      t6, SSTATUS_SUM
    csrs    sstatus, t6
    add     t1, a0, a1
1:  bgeu    a0, t1, 2f
    sb      zero, 0(a0)
    addi    a0, a0, 1
    j       1b
2:  csrc    sstatus, t6
    li      a0, 0
    ret

# int user_probe_read(uint64 va, uint64 n), int user_probe_write(uint64 va, uint64 n)
# One access to each page, so that what can be had is there afterwards; the write changes nothing (amoor of 0).
.macro probe name, access:vararg
.global \name
\name:
    li      t6, SSTATUS_SUM
    csrs    sstatus, t6
    add     t1, a0, a1          # one past the last byte
    andi    a0, a0, -8
    li      t2, 4096
    neg     t3, t2
1:  \access
    add     a0, a0, t2
    and     a0, a0, t3          # after the first, each page's first word
    bltu    a0, t1, 1b
    csrc    sstatus, t6
    li      a0, 0
    ret
.endm
    probe   user_probe_read, ld t0, 0(a0)
    probe   user_probe_write, amoor.d t0, zero, (a0)

# int user_copy_string(char *dst, const char *src, uint64 max)
.global user_copy_string
user_copy_string:
    li      t6, SSTATUS_SUM
    csrs    sstatus, t6
    mv      t1, a1
    add     t2, a1, a2
1:  bgeu    a1, t2, user_copy_fault # no terminator in max bytes
    lbu     t0, 0(a1)
    sb      t0, 0(a0)
    addi    a1, a1, 1
    addi    a0, a0, 1
    bnez    t0, 1b
    csrc    sstatus, t6
    sub     a0, a1, t1
    addi    a0, a0, -1
    ret
user_copy_end:

user_copy_fault:
    li      t6, SSTATUS_SUM
    csrc    sstatus, t6
    li      a0, -1
    ret
