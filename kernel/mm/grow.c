// How a process's memory changes size: sbrk, fork's copy, and what is left of both when memory runs out.
// Long work goes in batches, each under memory_lock, with interrupts on between them.
#include "kernel/lib/lib.h"
#include "kernel/mm/mapping.h"
#include "kernel/mm/vm.h"
#include "kernel/memlayout.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/trace/trace.h"

#define BATCH 64 // pages

// Touches every lazy page of [start, end). 0, or -1 without memory (or killed).
static int populate(struct proc *p, uint64 start, uint64 end) {
  uint64 va = start;
  while (va < end && !p->killed) {
    acquire(&p->memory_lock);
    for (int i = 0; i < BATCH && va < end; i++, va += PGSIZE) {
      if (!touch_page(p, va, TOUCH_READ)) {
        release(&p->memory_lock);
        return -1;
      }
    }
    release(&p->memory_lock);
  }
  return va < end ? -1 : 0;
}

// Unmaps from the top of p down to `low`, at most one table page's worth. The new top. memory_lock held.
static uint64 unmap_top(struct proc *p, uint64 low) {
  uint64 high = PGROUNDUP(p->sz);
  uint64 start = (high - 1) & ~(PGSIZE * 512 - 1); // of the 2 MiB that end there
  if (start < low)
    start = low;
  uint64 va = start;
  if (next_table(p->pagetable, &va, high)) {
    uvmunmap(p->pagetable, start, (high - start) / PGSIZE);
    return start;
  }
  // Nothing here: find where something is, in steps of what is absent.
  while (start > low) {
    uint64 step = start > (1UL << 30) && start % (1UL << 30) == 0 ? 1UL << 30 : PGSIZE * 512;
    uint64 next = start - low > step ? start - step : low;
    va = next;
    if (next_table(p->pagetable, &va, start))
      break;
    start = next;
  }
  return start;
}

// Lowers sz to target. Interruptible: between the batches the process is merely somewhat smaller. A relative may map
// pages on top meanwhile, which go too; killed, a process need not outrun it.
static void shrink(struct proc *p, uint64 target) {
  acquire(&p->memory_lock);
  while (p->sz > target && !p->killed) {
    uint64 low = PGROUNDUP(target), top = p->sz > low ? unmap_top(p, low) : low;
    WRITE_ONCE(p->sz, top > low ? top : target);
    release(&p->memory_lock);
    sfence_vma();
    acquire(&p->memory_lock);
  }
  if (PGROUNDUP(p->odd_top) >= p->sz) // the mapping made on it has gone
    p->odd_top = 0;
  release(&p->memory_lock);
}

// Growing claims the range first, as lazy memory, and then fills it if that was asked for.
long uvmgrow(struct proc *p, long n, int how) {
  acquire(&p->memory_lock);
  uint64 old = p->sz, new = old + n;
  if (n > 0 && new > USERTOP) {
    release(&p->memory_lock);
    return -1;
  }
  if (n > 0)
    WRITE_ONCE(p->sz, new);
  release(&p->memory_lock);
  if (n > 0 || new < old)
    trace(TRACE_RESIZE, p->pid, old, new);
  if (n < 0 && new < old) // a program that gives back more than it has keeps all of it, as in xv6
    shrink(p, new);
  uint64 start = PGROUNDUP(old);
  if (n <= 0 || how == SBRK_LAZY || populate(p, start, new) == 0)
    return old;

  acquire(&p->memory_lock);
  uvmunmap(p->pagetable, start, (PGROUNDUP(new) - start) / PGSIZE); // table pages too
  if (p->sz == new) // else somebody mapped pages above meanwhile, and what lies between stays a lazy heap
    WRITE_ONCE(p->sz, old);
  release(&p->memory_lock);
  sfence_vma();
  trace(TRACE_RESIZE, p->pid, new, old);
  return -1;
}

// The child's entry for one of the parent's, and what becomes of the parent's. 0, or -1 without memory.
static int copy_entry(pte_t *from, pagetable_t child, uint64 va, pte_t *to) {
  pte_t entry = *from;
  if (!(entry & PTE_V)) {
    *to = entry;
    return 0;
  }
  uint64 pa = PTE2PA(entry);
  if ((entry & (PTE_W | PTE_COW)) &&
      is_exported(entry)) { // stays the owner's: the child gets its copy now, or the sharing would come apart
    void *copy = kalloc();
    if (!copy)
      return -1;
    page_copy(copy, kva(pa));
    leaf_set(child, va, to, PA2PTE(pa_of(copy)) | (PTE_FLAGS(entry) & ~PTE_COW) | PTE_W);
    return 0;
  }
  if ((entry & (PTE_S | PTE_W)) == PTE_W)
    *from = entry = (entry & ~PTE_W) | PTE_COW;
  frame_ref(pa, entry & PTE_S ? ONE_SHARE : ONE_REFERENCE);
  leaf_set(child, va, to, entry);
  return 0;
}

// One table page of the parent, or its part below end. memory_lock of the parent held; the child is not yet visible.
static int copy_table(pte_t *from, struct proc *child, uint64 va, uint64 end) {
  uint64 base = va & ~(PGSIZE * 512 - 1);
  pte_t *to = walk(child->pagetable, base, 1);
  if (!to)
    return -1;
  for (int i = PX(0, va); i < 512 && base + i * PGSIZE < end; i++)
    if (from[i] && copy_entry(&from[i], child->pagetable, base + i * PGSIZE, &to[i]) < 0)
      return -1;
  return 0;
}

int uvmcopy(struct proc *parent, struct proc *child) {
  int result = 0;
  uint64 va = 0;
  acquire(&parent->memory_lock);
  uint64 end = PGROUNDUP(parent->sz);
  WRITE_ONCE(child->sz, parent->sz);
  child->odd_top = parent->odd_top;
  while (result == 0) {
    pte_t *table = next_table(parent->pagetable, &va, end);
    if (!table)
      break;
    result = copy_table(table, child, va, end);
    va = (va | (PGSIZE * 512 - 1)) + 1;
    release(&parent->memory_lock); // let interrupts in
    acquire(&parent->memory_lock);
  }
  child->has_holes = parent->has_holes; // a relative may have made the first one meanwhile
  release(&parent->memory_lock);
  sfence_vma(); // the parent's pages have lost their W
  return result;
}
