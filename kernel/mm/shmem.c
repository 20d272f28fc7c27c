// Sharing pages between processes. Everything is checked and every table page reserved before the first entry
// changes, so there is nothing to undo. Both processes' memory locks are held throughout, in ascending address.
#include "kernel/mm/shmem.h"
#include "kernel/lib/lib.h"
#include "kernel/memlayout.h"
#include "kernel/mm/mapping.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/trace/trace.h"

// The whole pages that hold a range of bytes.
struct pages {
  uint64 start; // address of the first
  uint64 end;   // one past the last
};

static int pages_of(struct pages *pages, uint64 va, uint64 size) {
  if (size == 0 || size > USERTOP || va > USERTOP - size)
    return -1;
  *pages = (struct pages){PGROUNDDOWN(va), PGROUNDUP(va + size)};
  return 0;
}

static void lock_both(struct proc *a, struct proc *b) {
  acquire(a < b ? &a->memory_lock : &b->memory_lock);
  acquire(a < b ? &b->memory_lock : &a->memory_lock);
}

// Makes a source page one that both sides can see: present, and no longer copy-on-write.
static pte_t *shareable(struct proc *src, uint64 va) {
  pte_t *entry = touch_page(src, va, TOUCH_READ);
  return entry && (*entry & PTE_COW) ? touch_page(src, va, TOUCH_WRITE) : entry;
}

// Every page of src there and shareable, and a table page for each of dst's entries? Only then may share_pages() run.
static int prepare(struct proc *src, struct proc *dst, struct pages from, uint64 to) {
  for (uint64 va = from.start; va < from.end; va += PGSIZE)
    if (!shareable(src, va))
      return -1;
  for (uint64 va = to; va < to + (from.end - from.start); va = (va | (512 * PGSIZE - 1)) + 1)
    if (!walk(dst->pagetable, va, 1))
      return -1;
  return 0;
}

static void share_pages(struct proc *src, struct proc *dst, struct pages from, uint64 to) {
  pte_t *source = 0, *target = 0;
  for (uint64 va = from.start; va < from.end; va += PGSIZE, to += PGSIZE) {
    source = source && PX(0, va) ? source + 1 : walk(src->pagetable, va, 0);
    target = target && PX(0, to) ? target + 1 : walk(dst->pagetable, to, 0);
    uint64 pa = PTE2PA(*source);
    frame_ref(pa);
    __atomic_add_fetch(&frame_of(pa)->shares, 1, __ATOMIC_RELAXED);
    leaf_set(dst->pagetable, to, target, *source | PTE_S);
  }
}

uint64 map_shared_pages(struct proc *src, struct proc *dst, uint64 src_va, uint64 size) {
  struct pages from;
  uint64 result = -1;
  if (src == dst || pages_of(&from, src_va, size) < 0)
    return -1;
  uint64 length = from.end - from.start;

  lock_both(src, dst);
  uint64 to = PGROUNDUP(dst->sz);
  if (src->pagetable && dst->pagetable && from.end <= PGROUNDUP(src->sz) && length <= USERTOP - to &&
      prepare(src, dst, from, to) == 0) {
    share_pages(src, dst, from, to);
    if (dst->sz != to)
      dst->odd_top = dst->sz;
    trace(TRACE_RESIZE, dst->pid, dst->sz, to + length);
    dst->sz = to + length;
    result = to + (src_va - from.start);
    trace(TRACE_MAP, src->pid, dst->pid, src_va, result, size);
  }
  release(&src->memory_lock);
  release(&dst->memory_lock);
  return result;
}

// Every page of the range mapped, and shared in from another process?
static int all_shared(struct proc *p, struct pages pages) {
  const pte_t want = PTE_V | PTE_S;
  pte_t *entry = 0;
  for (uint64 va = pages.start; va < pages.end; va += PGSIZE) {
    entry = entry && PX(0, va) ? entry + 1 : walk(p->pagetable, va, 0);
    if (!entry || (*entry & want) != want)
      return 0;
  }
  return 1;
}

// sz after the pages from `top` up have gone: holes that were in the middle and are now at the top go too,
// and a size that was no multiple of a page when the mapping was made on it comes back.
static uint64 fall_back(struct proc *p, uint64 top) {
  pte_t *entry;
  while (top > 0 && (entry = walk(p->pagetable, top - PGSIZE, 0)) && *entry == PTE_HOLE) {
    *entry = 0;
    top -= PGSIZE;
  }
  uint64 odd = p->odd_top;
  if (odd && PGROUNDUP(odd) == top) {
    p->odd_top = 0;
    return odd;
  }
  return top;
}

static void take_back(struct proc *p, struct pages pages) {
  int at_top = pages.end == PGROUNDUP(p->sz);
  pte_t *entry = 0;
  for (uint64 va = pages.start; va < pages.end; va += PGSIZE) {
    entry = entry && PX(0, va) ? entry + 1 : walk(p->pagetable, va, 0);
    *entry &= ~PTE_V; // no hart may begin to use it
  }
  tlb_shootdown(p); // and none still does
  for (uint64 va = pages.start; va < pages.end; va += PGSIZE) {
    entry = va != pages.start && PX(0, va) ? entry + 1 : walk(p->pagetable, va, 0);
    *entry |= PTE_V;
    leaf_drop(p->pagetable, va, entry);
    if (!at_top)
      *entry = PTE_HOLE;
  }
  if (at_top) {
    uint64 size = fall_back(p, pages.start);
    trace(TRACE_RESIZE, p->pid, p->sz, size);
    p->sz = size;
  }
}

int unmap_shared_pages(struct proc *p, uint64 va, uint64 size) {
  struct pages pages;
  if (pages_of(&pages, va, size) < 0)
    return -1;
  acquire(&p->memory_lock);
  int result = p->pagetable && pages.end <= PGROUNDUP(p->sz) && all_shared(p, pages) ? 0 : -1;
  if (result == 0) {
    take_back(p, pages);
    trace(TRACE_UNMAP, p->pid, va, size);
  }
  release(&p->memory_lock);
  return result;
}

int is_writable(struct proc *p, uint64 va, uint64 size) {
  struct pages pages;
  if (pages_of(&pages, va, size) < 0)
    return 0;
  acquire(&p->memory_lock);
  int writable = p->pagetable != 0;
  for (uint64 page = pages.start; writable && page < pages.end; page += PGSIZE)
    writable = touch_page(p, page, TOUCH_WRITE) != 0;
  release(&p->memory_lock);
  sfence_vma();
  return writable;
}
