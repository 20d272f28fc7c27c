# Power-on: every hart arrives here in machine mode, at physical addresses, with a1 = device tree.
# Gives it a stack and goes to start(); also the machine-mode vector, which only forwards interrupts
# between harts (a hart rings another's CLINT bell; supervisor mode can't be rung directly on this machine).
#include "kernel/memlayout.h"
#include "kernel/param.h"

.section .text.entry, "ax"
.global _entry
_entry:
    csrr    a0, mhartid
    li      t0, NCPU
    bgeu    a0, t0, park
    la      sp, boot_stacks
    slli    t0, a0, 12
    add     sp, sp, t0
    li      t0, 4096
    add     sp, sp, t0
    li      s0, 0
    call    start           # start(hart, device_tree) leaves machine mode for enter_kernel
park:
    wfi
    j       park

# First instructions in supervisor mode, upper half. a0 = hart, a1 = device tree.
.global enter_kernel
enter_kernel:
    li      t0, DIRECT_MAP
    add     sp, sp, t0      # the boot stack at its address in the direct map
    li      s0, 0
    li      ra, 0
    call    main

# void run_on_stack(uint64 top, void (*function)(void)): leave the boot stack for good.
.global run_on_stack
run_on_stack:
    mv      sp, a0
    li      s0, 0
    li      ra, 0
    jr      a1

# mscratch points at a hart's struct machine_scratch: a spare word, the address of its CLINT word, where it was met.
.balign 4
.global machine_vector
machine_vector:
    csrrw   a0, mscratch, a0
    sd      a1, 0(a0)
    csrr    a1, mepc
    sd      a1, 16(a0)
    ld      a1, 8(a0)
    sw      zero, 0(a1)     # stop ringing
    li      a1, 2
    csrs    mip, a1         # and pend the supervisor's software interrupt
    ld      a1, 0(a0)
    csrrw   a0, mscratch, a0
    mret

# Where a machine without the Sstc timer ends up, while start() tries it.
.balign 4
.global no_sstc_vector
no_sstc_vector:
    la      a0, no_sstc_message
    li      a1, UART0
1:  lbu     a2, 0(a0)
    beqz    a2, park
    sb      a2, 0(a1)
    addi    a0, a0, 1
    j       1b

.section .rodata
no_sstc_message:
    .asciz  "xv6-glass: this machine has no Sstc timer (stimecmp); QEMU 7.2 or newer is needed\n"

.section .bss
.balign 4096
.global boot_stacks
boot_stacks:
    .space  4096 * NCPU
