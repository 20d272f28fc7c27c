# Every trap of supervisor mode enters at trap_vector. satp does not change: the kernel is in every page table.
# sscratch tells where the trap came from: in user mode it holds the process's trapframe, in the kernel 0.
#include "kernel/memlayout.h"

# struct trapframe (proc/proc.h)
#define TF_CPU 0
#define TF_EPC 8
#define TF_RA 16
#define TF_SP 24

# The frame of a trap inside the kernel: what a C function may change.
#define KF_SIZE 128

# For debuggers alone, nothing of it is loaded. A backtrace passes through a trap inside the kernel, though over the
# innermost function, whose pc is in sepc; it ends where a trap came from user mode.
.cfi_sections .debug_frame

.text
.balign 4
.global trap_vector
trap_vector:
.cfi_startproc simple
.cfi_def_cfa sp, 0
    csrrw   sp, sscratch, sp
    bnez    sp, from_user

    # From the kernel: back to the interrupted stack, if the frame still fits on it.
    csrrw   sp, sscratch, sp
    addi    sp, sp, -KF_SIZE
.cfi_def_cfa_offset KF_SIZE
    csrw    sscratch, t0
    srli    t0, sp, 13
    andi    t0, t0, 1
    beqz    t0, off_stack       # in the guard below a stack this bit of sp is 0 (memlayout.h)
    csrrw   t0, sscratch, zero
    sd      ra, 0(sp)
.cfi_offset ra, -KF_SIZE
    sd      t0, 8(sp)
    sd      t1, 16(sp)
    sd      t2, 24(sp)
    sd      a0, 32(sp)
    sd      a1, 40(sp)
    sd      a2, 48(sp)
    sd      a3, 56(sp)
    sd      a4, 64(sp)
    sd      a5, 72(sp)
    sd      a6, 80(sp)
    sd      a7, 88(sp)
    sd      t3, 96(sp)
    sd      t4, 104(sp)
    sd      t5, 112(sp)
    sd      t6, 120(sp)
    call    kerneltrap
    ld      ra, 0(sp)
    ld      t0, 8(sp)
    ld      t1, 16(sp)
    ld      t2, 24(sp)
    ld      a0, 32(sp)
    ld      a1, 40(sp)
    ld      a2, 48(sp)
    ld      a3, 56(sp)
    ld      a4, 64(sp)
    ld      a5, 72(sp)
    ld      a6, 80(sp)
    ld      a7, 88(sp)
    ld      t3, 96(sp)
    ld      t4, 104(sp)
    ld      t5, 112(sp)
    ld      t6, 120(sp)
    addi    sp, sp, KF_SIZE
    sret
.cfi_endproc

# A stack overflowed, or boot code trapped: report on this hart's boot stack, which nothing else uses by now.
off_stack:
.cfi_startproc simple
.cfi_def_cfa sp, 0
.cfi_undefined ra
    mv      a0, sp
    lw      t0, 16(tp)          # struct cpu: id
    addi    t0, t0, 1
    slli    t0, t0, 12
    la      sp, boot_stacks
    add     sp, sp, t0
    call    trap_off_stack

from_user:                      # sp = trapframe, sscratch = the program's sp
    sd      ra, TF_RA(sp)
    sd      gp, 32(sp)
    sd      tp, 40(sp)
    sd      t0, 48(sp)
    csrrw   t0, sscratch, zero
    sd      t0, TF_SP(sp)
    csrr    t0, sepc
    sd      t0, TF_EPC(sp)
    ld      tp, TF_CPU(sp)
    sd      t1, 56(sp)
    sd      t2, 64(sp)
    sd      s0, 72(sp)
    sd      s1, 80(sp)
    sd      a0, 88(sp)
    sd      a1, 96(sp)
    sd      a2, 104(sp)
    sd      a3, 112(sp)
    sd      a4, 120(sp)
    sd      a5, 128(sp)
    sd      a6, 136(sp)
    sd      a7, 144(sp)
    sd      s2, 152(sp)
    sd      s3, 160(sp)
    sd      s4, 168(sp)
    sd      s5, 176(sp)
    sd      s6, 184(sp)
    sd      s7, 192(sp)
    sd      s8, 200(sp)
    sd      s9, 208(sp)
    sd      s10, 216(sp)
    sd      s11, 224(sp)
    sd      t3, 232(sp)
    sd      t4, 240(sp)
    sd      t5, 248(sp)
    sd      t6, 256(sp)
    li      s0, 0               # backtraces of the kernel end here
    call    usertrap

# To user mode. The kernel stack is empty again, so sp is the trapframe; sstatus was set by usertrapret(). s1 to s11 are
# the program's still: usertrap() kept them, as every C function does.
to_user:
    ld      t0, TF_EPC(sp)
    csrw    sepc, t0
    csrw    sscratch, sp
    ld      ra, TF_RA(sp)
    ld      gp, 32(sp)
    ld      tp, 40(sp)
    ld      t0, 48(sp)
    ld      t1, 56(sp)
    ld      t2, 64(sp)
    ld      s0, 72(sp)
    ld      a0, 88(sp)
    ld      a1, 96(sp)
    ld      a2, 104(sp)
    ld      a3, 112(sp)
    ld      a4, 120(sp)
    ld      a5, 128(sp)
    ld      a6, 136(sp)
    ld      a7, 144(sp)
    ld      t3, 232(sp)
    ld      t4, 240(sp)
    ld      t5, 248(sp)
    ld      t6, 256(sp)
    ld      sp, TF_SP(sp)
    sret

# The same for a process that has not come by usertrap(): all registers are in the trapframe only.
first_to_user:
    ld      s1, 80(sp)
    ld      s2, 152(sp)
    ld      s3, 160(sp)
    ld      s4, 168(sp)
    ld      s5, 176(sp)
    ld      s6, 184(sp)
    ld      s7, 192(sp)
    ld      s8, 200(sp)
    ld      s9, 208(sp)
    ld      s10, 216(sp)
    ld      s11, 224(sp)
    j       to_user

# A new process's first instructions: its stack holds nothing but the trapframe.
.global first_return
first_return:
    li      s0, 0
    call    forkret
    j       first_to_user

# void return_afresh(struct trapframe *): to user mode from anywhere in the kernel, for a process that starts over.
.global return_afresh
return_afresh:
    mv      sp, a0
    li      s0, 0
    call    usertrapret
    j       first_to_user
.cfi_endproc
