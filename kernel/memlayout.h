// Where things are: QEMU virt's physical map, the user's half of the address space, the kernel's half.
// Physical addresses are those of QEMU's hw/riscv/virt.c; one table serves the kernel, programs and tools.
#pragma once

// physical: devices of the virt machine
#define TEST_FINISHER 0x100000L // sifive_test: writing here ends the machine
#define CLINT 0x2000000L        // machine-level software interrupts, one 32-bit word per hart
#define PLIC 0x0c000000L
#define UART0 0x10000000L
#define UART0_IRQ 10
#define VIRTIO0 0x10001000L
#define VIRTIO0_IRQ 1

// physical: RAM starts here, its end is read from the device tree; PHYSTOP is only the default machine's end
#define KERNBASE 0x80000000L
#define PHYSTOP (KERNBASE + 128 * 1024 * 1024)

// virtual, lower half: a process has [0, USERTOP); the two pages above it are never mapped and
// keep the names that xv6 programs use for the end of user memory
#define TRAMPOLINE (MAXVA - PGSIZE)
#define TRAPFRAME (TRAMPOLINE - PGSIZE)
#define USERTOP TRAPFRAME

// virtual, upper half: all physical memory and devices at one offset (the direct map), kernel included,
// and in the last GiB the kernel stacks, each with an unmapped guard below it
#define DIRECT_MAP 0xffffffc000000000UL
#define DIRECT_MAP_SIZE (254UL << 30)
#define KSTACK_BASE 0xffffffffc0000000UL
#define KSTACK_PAGES 2
#define KSTACK_STRIDE (2 * KSTACK_PAGES * 4096UL) // guard of the same size: sp's bit tells stack from guard
// the top of stack i: processes have 0..NPROC-1, harts NPROC..NPROC+NCPU-1
#define KSTACK_TOP(i) (KSTACK_BASE + ((i) + 1UL) * KSTACK_STRIDE)
