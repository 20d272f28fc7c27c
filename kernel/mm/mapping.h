// What the files of mm/ share about a process's page table, beyond what vm.h offers to other layers.
#pragma once
#include "kernel/mm/frame.h"
#include "kernel/riscv.h"
#include "kernel/trace/trace.h"

struct proc;

// An entry without V that is not zero marks a page below sz that must not be filled: the guard below the stack,
// and where a shared page was unmapped. A zero entry below sz is lazy: filled with zeroes when first touched.
#define PTE_HOLE PTE_COW

// For loops over many leaves: frames[] as if it began with frame number 0 of physical memory, and a leaf's number in
// it.
static inline struct frame *frames_by_number(void) {
  return (struct frame *)((uint64)frames - (KERNBASE >> PGSHIFT) * sizeof(struct frame));
}
static inline uint64 frame_number(pte_t leaf) {
  return (uint64)leaf << 10 >> 20;
}

// Is any event about single pages recorded? Loops ask once.
static inline int tracing_pages(void) {
  return tracing(1UL << TRACE_REF | 1UL << TRACE_UNREF | 1UL << TRACE_PTE_SET | 1UL << TRACE_PTE_CLEAR);
}

// Sets the entry of va, which was not valid, to value; the reference to the frame is the caller's to have taken.
static inline void leaf_set(pagetable_t root, uint64 va, pte_t *entry, pte_t value) {
  trace(TRACE_PTE_SET, pa_of(root), va, PTE2PA(value), PTE_FLAGS(value));
  *entry = value;
}

// Gives up the reference that a leaf of va held; its entry is gone already. Translations of it must be forgotten, or
// out of use: the process is the caller, and forgets them before it returns to user mode.
static inline void leaf_release(pagetable_t root, uint64 va, pte_t old) {
  trace(TRACE_PTE_CLEAR, pa_of(root), va, PTE2PA(old));
  frame_unref(PTE2PA(old), old & PTE_S ? ONE_SHARE : ONE_REFERENCE);
}

// Clears an entry, whatever it is: leaf, hole's mark, or zero.
static inline void leaf_drop(pagetable_t root, uint64 va, pte_t *entry) {
  pte_t old = *entry;
  *entry = 0;
  if (old & PTE_V)
    leaf_release(root, va, old);
}

// The table page that an entry of level 2 or 1 refers to: nothing else is in it but V.
static inline pagetable_t table_below(pte_t entry) {
  return kva((entry - PTE_V) << 2);
}

// walk() for loops over leaves: the level-0 entry of va, below MAXVA; 0 if there is no table page for it.
static inline pte_t *leaf_of(pagetable_t root, uint64 va) {
  pte_t top = root[PX(2, va)];
  pte_t middle = top & PTE_V ? table_below(top)[PX(1, va)] : 0;
  return middle & PTE_V ? &table_below(middle)[PX(0, va)] : 0;
}

// The level-0 table page that holds va, or the next there is below end; advances *va to its first address there.
// 0 when there is none left. Absent parts cost one step for 2 MiB or 1 GiB.
pte_t *next_table(pagetable_t pagetable, uint64 *va, uint64 end);

// Is the process owner of a frame that others map too?
static inline int is_exported(pte_t entry) {
  return !(entry & PTE_S) && __atomic_load_n(&frame_of(PTE2PA(entry))->shares, __ATOMIC_RELAXED) > 0;
}

// Frees the level-0 table pages that serve only addresses from start on, in [start, end): all their entries are zero.
// For the caller's own memory, since another hart's page walks might still go through them.
void free_empty_tables(pagetable_t pagetable, uint64 start, uint64 end);

// Makes the page at va present, and its own if it is to be written, as an access by the program would.
// memory_lock held. The entry, or 0 if the program may not access it so, or memory ran out.
enum touch { TOUCH_READ, TOUCH_WRITE, TOUCH_FETCH };
pte_t *touch_page(struct proc *p, uint64 va, enum touch how);
