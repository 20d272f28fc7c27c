// Pages that come when they are touched: lazily grown heap, and copies of pages shared since a fork.
// All of it under the process's memory_lock; never sleeps, so copies to user memory may fault with spinlocks held.
#include "kernel/lib/lib.h"
#include "kernel/mm/mapping.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/trace/trace.h"

#define SMALL (64 * PGSIZE) // bytes of memory up to which a process may use the frames kept for copies

// A fresh zeroed page at va.
static pte_t *fill_lazy(struct proc *p, uint64 va) {
  pte_t *entry = walk(p->pagetable, va, 1);
  void *frame = entry ? kalloc_zero() : 0;
  if (!frame)
    return 0;
  leaf_set(p->pagetable, va, entry, PA2PTE(pa_of(frame)) | PTE_V | PTE_R | PTE_W | PTE_U | PTE_A | PTE_D);
  return entry;
}

// Ends copy-on-write for this page: the last process to refer to the frame keeps it, others get a copy.
static pte_t *break_cow(struct proc *p, uint64 va, pte_t *entry) {
  uint64 pa = PTE2PA(*entry);
  pte_t flags = (PTE_FLAGS(*entry) & ~PTE_COW) | PTE_W;
  if (__atomic_load_n(&frame_of(pa)->count, __ATOMIC_ACQUIRE) == 1) {
    *entry = PA2PTE(pa) | flags;
    return entry;
  }
  void *copy = p->sz <= SMALL ? kalloc_last() : kalloc();
  if (!copy)
    return 0;
  page_copy(copy, kva(pa));
  trace(TRACE_PTE_CLEAR, pa_of(p->pagetable), va, pa);
  leaf_set(p->pagetable, va, entry, PA2PTE(pa_of(copy)) | flags);
  tlb_shootdown(p); // nobody may go on reading the old frame
  frame_unref(pa, ONE_REFERENCE);
  return entry;
}

pte_t *touch_page(struct proc *p, uint64 va, enum touch how) {
  va = PGROUNDDOWN(va);
  pte_t *entry = va < p->sz ? walk(p->pagetable, va, 0) : 0;
  if (va >= p->sz || (entry && !(*entry & PTE_V) && *entry))
    return 0;
  if (!entry || !*entry)
    return how == TOUCH_FETCH ? 0 : fill_lazy(p, va);
  if (!(*entry & PTE_U))
    return 0;
  if (how == TOUCH_WRITE)
    return *entry & PTE_W ? entry : *entry & PTE_COW ? break_cow(p, va, entry) : 0;
  return *entry & (how == TOUCH_FETCH ? PTE_X : PTE_R) ? entry : 0;
}

// Would touch_page() succeed if there were memory?
static int lacks_only_memory(struct proc *p, uint64 va, enum touch how) {
  pte_t *entry = va < p->sz ? walk(p->pagetable, PGROUNDDOWN(va), 0) : 0;
  if (va >= p->sz)
    return 0;
  if (!entry || !*entry)
    return how != TOUCH_FETCH;
  return how == TOUCH_WRITE && (*entry & (PTE_V | PTE_U | PTE_COW)) == (PTE_V | PTE_U | PTE_COW);
}

int handle_fault(struct proc *p, uint64 va, uint64 cause) {
  enum touch how = cause == CAUSE_STORE_PAGE ? TOUCH_WRITE : cause == CAUSE_FETCH_PAGE ? TOUCH_FETCH : TOUCH_READ;
  acquire(&p->memory_lock);
  int result = FAULT_REFUSED;
  if (p->pagetable)
    result = touch_page(p, va, how) ? 0 : lacks_only_memory(p, va, how) ? FAULT_NO_MEMORY : FAULT_REFUSED;
  release(&p->memory_lock);
  sfence_vma_page(va);
  return result;
}
