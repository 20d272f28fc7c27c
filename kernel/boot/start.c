// Machine mode, once per hart: hand every trap to supervisor mode and enter it in the upper half.
// Runs at physical addresses, so it uses no pointer that the linker stored in data.
#include "kernel/boot/boot.h"
#include "kernel/memlayout.h"
#include "kernel/param.h"
#include "kernel/riscv.h"

struct machine_scratch machine_scratch[NCPU];

// The upper half by 1 GiB leaves, all permissions: good only until kvminit() has built the real table.
static uint64 boot_pagetable[512] __attribute__((aligned(4096)));

void enter_kernel(uint64 hart, uint64 device_tree);
void machine_vector(void);
void no_sstc_vector(void);
void start(uint64 hart, uint64 device_tree);

#define ENVCFG_STCE (1UL << 63) // menvcfg: supervisor mode owns stimecmp
#define COUNTERS 7              // cycle, time, instret

// Every hart writes the same values, so they may do it at the same time.
static void fill_boot_pagetable(void) {
  for (uint64 gib = 0; gib < DIRECT_MAP_SIZE >> 30; gib++)
    boot_pagetable[256 + gib] = PA2PTE(gib << 30) | PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D | PTE_G;
}

void start(uint64 hart, uint64 device_tree) {
  csr_write(mtvec, (uint64)no_sstc_vector);
  asm volatile("csrs 0x30a, %0" ::"r"(ENVCFG_STCE)); // menvcfg
  csr_write(mcounteren, COUNTERS);
  asm volatile("csrw 0x14d, %0" ::"r"(-1UL)); // stimecmp: no timer interrupt yet

  machine_scratch[hart].bell = (uint32 *)CLINT + hart;
  csr_write(mscratch, (uint64)&machine_scratch[hart]);
  csr_write(mtvec, (uint64)machine_vector);
  csr_write(mie, IE_MSOFT);
  csr_write(medeleg, 0xb1ff); // every exception but calls from supervisor and machine mode
  csr_write(mideleg, IE_SSOFT | IE_STIMER | IE_SEXTERNAL);
  csr_write(pmpaddr0, -1UL >> 10); // supervisor mode may use all of memory
  csr_write(pmpcfg0, 0xf);

  fill_boot_pagetable();
  csr_write(satp, SATP_SV39 | ((uint64)boot_pagetable >> PGSHIFT));
  sfence_vma();
  csr_write(mepc, (uint64)enter_kernel + DIRECT_MAP);
  csr_write(mstatus, (csr_read(mstatus) & ~MSTATUS_MPP_MASK) | MSTATUS_MPP_S);
  register uint64 a0 asm("a0") = hart;
  register uint64 a1 asm("a1") = device_tree;
  asm volatile("mret" ::"r"(a0), "r"(a1));
  __builtin_unreachable();
}
