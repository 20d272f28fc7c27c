// Page tables: the kernel's, and a process's lower half. Sv39 (privileged specification 4.4).
// A table page and a leaf's frame are each one counted frame. The process's memory_lock guards its table.
#pragma once
#include "kernel/riscv.h"
#include "kernel/vm.h"

struct proc;

extern pagetable_t kernel_pagetable; // the upper half of it is in every page table

void kvminit(void);     // builds kernel_pagetable
void kvminithart(void); // this hart uses it

pte_t *walk(pagetable_t pagetable, uint64 va, int alloc); // the level-0 entry, 0 if absent (and not allocated)
int mappages(pagetable_t pagetable, uint64 va, uint64 size, uint64 pa, int perm); // 0, or -1 with nothing changed
void uvmunmap(pagetable_t pagetable, uint64 va, uint64 npages); // drops the references of the pages that are there

pagetable_t uvmcreate(void);                                             // empty lower half; 0 without memory
void uvmfree(pagetable_t pagetable);                                     // everything below, and the root
int uvmcopy(struct proc *parent, struct proc *child);                    // fork: 0, or -1 without memory
int uvmalloc(pagetable_t pagetable, uint64 start, uint64 end, int perm); // fresh zeroed pages; 0, or -1 and none
long uvmgrow(struct proc *p, long n, int how);                // sbrk: the old sz, or -1; how is SBRK_EAGER or SBRK_LAZY
int handle_fault(struct proc *p, uint64 va, uint64 cause);    // 0 if the access may be tried again, or one of
#define FAULT_REFUSED (-1)                                    // the program may not access this
#define FAULT_NO_MEMORY (-2)                                  // it may, but there is no frame for it
void uvmcount(struct proc *p, uint64 *pages, uint64 *shared); // pages mapped; of these, with PTE_S
void use_pagetable(pagetable_t pagetable);                    // this hart's translations from now on

// Makes other harts forget p's translations before a frame of it is given up; p->memory_lock held.
void tlb_shootdown(struct proc *p);
void tlb_poll(void); // serve a shootdown asked of this hart; for loops that spin with interrupts off
