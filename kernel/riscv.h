// RISC-V as the kernel sees it: CSRs, Sv39 page-table entries, fences (privileged specification 1.12).
// Programs include it for PGSIZE, MAXVA and r_sp(); assembly files use the constants.
#pragma once

#define PGSIZE 4096 // an int, as in xv6: programs write sbrk(-PGSIZE)
#define PGSHIFT 12

#ifndef __ASSEMBLER__
#include "kernel/types.h"

typedef uint64 pte_t;
typedef uint64 *pagetable_t; // 512 page-table entries

#define csr_read(csr)                                                                                                  \
  ({                                                                                                                   \
    uint64 value_;                                                                                                     \
    asm volatile("csrr %0, " #csr : "=r"(value_)::"memory");                                                           \
    value_;                                                                                                            \
  })
#define csr_write(csr, value) asm volatile("csrw " #csr ", %0" ::"rK"((uint64)(value)) : "memory")
#define csr_set(csr, bits) asm volatile("csrs " #csr ", %0" ::"rK"((uint64)(bits)) : "memory")
#define csr_clear(csr, bits) asm volatile("csrc " #csr ", %0" ::"rK"((uint64)(bits)) : "memory")
// Clears bits and returns the register's value before.
#define csr_fetch_clear(csr, bits)                                                                                     \
  ({                                                                                                                   \
    uint64 value_;                                                                                                     \
    asm volatile("csrrc %0, " #csr ", %1" : "=r"(value_) : "rK"((uint64)(bits)) : "memory");                           \
    value_;                                                                                                            \
  })

// Where the function returns to, if asked for at its beginning. gcc's own __builtin_return_address() saves ra on the
// stack. A macro, so that to debuggers the function's first instruction is its own.
#define return_address()                                                                                               \
  ({                                                                                                                   \
    uint64 ra_;                                                                                                        \
    asm volatile("mv %0, ra" : "=r"(ra_));                                                                             \
    ra_;                                                                                                               \
  })

static inline uint64 r_sp(void) {
  uint64 sp;
  asm volatile("mv %0, sp" : "=r"(sp));
  return sp;
}

// Forgets every cached translation of this hart (privileged specification 4.2.1).
static inline void sfence_vma(void) {
  asm volatile("sfence.vma zero, zero" ::: "memory");
}

// Forgets this hart's translations of the page at va.
static inline void sfence_vma_page(uint64 va) {
  asm volatile("sfence.vma %0, zero" ::"r"(va) : "memory");
}

// Other harts see the stores before it no later than those after it (unprivileged specification 2.7).
static inline void fence_stores(void) {
  asm volatile("fence w, w" ::: "memory");
}

static inline void fence_i(void) {
  asm volatile("fence.i" ::: "memory");
}
#endif

// mstatus and sstatus
#define MSTATUS_MPP_MASK (3UL << 11)
#define MSTATUS_MPP_S (1UL << 11)
#define SSTATUS_SIE (1UL << 1)
#define SSTATUS_SPIE (1UL << 5)
#define SSTATUS_SPP (1UL << 8)
#define SSTATUS_FS (3UL << 13)
#define SSTATUS_FS_INITIAL (1UL << 13)
#define SSTATUS_FS_CLEAN (2UL << 13)
#define SSTATUS_FS_DIRTY (3UL << 13)
#define SSTATUS_SUM (1UL << 18)

// sie, sip, mie
#define IE_SSOFT (1UL << 1)
#define IE_MSOFT (1UL << 3)
#define IE_STIMER (1UL << 5)
#define IE_SEXTERNAL (1UL << 9)

// scause
#define CAUSE_INTERRUPT (1UL << 63)
#define CAUSE_FETCH_ACCESS 1
#define CAUSE_ILLEGAL 2
#define CAUSE_BREAKPOINT 3
#define CAUSE_LOAD_ACCESS 5
#define CAUSE_STORE_ACCESS 7
#define CAUSE_USER_ECALL 8
#define CAUSE_FETCH_PAGE 12
#define CAUSE_LOAD_PAGE 13
#define CAUSE_STORE_PAGE 15

#define SATP_SV39 (8UL << 60)

#define PGROUNDUP(size) (((uint64)(size) + PGSIZE - 1) & ~(PGSIZE - 1))
#define PGROUNDDOWN(address) ((uint64)(address) & ~(PGSIZE - 1))

// Sv39 page-table entry: 44 bits of frame number above ten flag bits
#define PTE_V (1L << 0)
#define PTE_R (1L << 1)
#define PTE_W (1L << 2)
#define PTE_X (1L << 3)
#define PTE_U (1L << 4)
#define PTE_G (1L << 5)
#define PTE_A (1L << 6)
#define PTE_D (1L << 7)
#define PTE_S (1L << 8)   // software: shared in from another process, whose frame this is
#define PTE_COW (1L << 9) // software: copy the frame before the first write
#define PTE_LEAF (PTE_R | PTE_W | PTE_X)

#define PA2PTE(pa) ((((uint64)(pa)) >> 12) << 10)
#define PTE2PA(pte) ((uint64)(pte) << 10 >> 20 << 12) // without the bits above the frame number, which Sv39 reserves
#define PTE_FLAGS(pte) ((pte)&0x3FF)

// the index of va in the page-table page of a level, 2 being the root
#define PXSHIFT(level) (PGSHIFT + 9 * (level))
#define PX(level, va) ((((uint64)(va)) >> PXSHIFT(level)) & 0x1FF)

// one past the highest user address: the lower half of Sv39
#define MAXVA (1L << 38)
