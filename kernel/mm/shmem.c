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

// solution {
static void lock_both(struct proc *a, struct proc *b) {
  acquire(a < b ? &a->memory_lock : &b->memory_lock);
  acquire(a < b ? &b->memory_lock : &a->memory_lock);
}

static uint64 least(uint64 a, uint64 b) {
  return a < b ? a : b;
}

// How many pages from va on, at most `most`, have their entries in one table page.
static uint64 in_one_table(uint64 va, uint64 most) {
  return least(512 - PX(0, va), most);
}

// Are these n leaves present, the program's, and none of them copy-on-write?
static int all_shareable(const pte_t *entry, uint64 n) {
  pte_t common = -1, any = 0; // the bits that all of them have, and that one of them has
#pragma GCC unroll 8
  for (uint64 i = 0; i < n; i++) {
    common &= entry[i];
    any |= entry[i];
  }
  return (common & (PTE_V | PTE_U)) == (PTE_V | PTE_U) && !(any & PTE_COW);
}

// Makes a source page one that both sides can see: present, and no longer copy-on-write. 0, or -1.
static seldom int make_page_shareable(struct proc *src, uint64 va) {
  pte_t *entry = touch_page(src, va, TOUCH_READ);
  if (entry && (*entry & PTE_COW))
    entry = touch_page(src, va, TOUCH_WRITE);
  return entry ? 0 : -1;
}

static int make_shareable(struct proc *src, struct pages from) {
  for (uint64 va = from.start, n; va < from.end; va += n * PGSIZE) {
    n = in_one_table(va, (from.end - va) / PGSIZE);
    pte_t *entry = walk(src->pagetable, va, 0);
    if (entry && all_shareable(entry, n))
      continue;
    for (uint64 i = 0; i < n; i++)
      if (make_page_shareable(src, va + i * PGSIZE) < 0)
        return -1;
  }
  return 0;
}

// A table page for each of the entries that [to, to+length) will need.
static int make_tables(struct proc *dst, uint64 to, uint64 length) {
  for (uint64 va = to; va < to + length; va += in_one_table(va, 512) * PGSIZE)
    if (!walk(dst->pagetable, va, 1))
      return -1;
  return 0;
}

// Every page is there, and every table page: nothing here fails.
static void share_pages(struct proc *src, struct proc *dst, struct pages from, uint64 to) {
  struct frame *const table = frames_by_number();
  const int traced = tracing_pages();
  for (uint64 va = from.start, n; va < from.end; va += n * PGSIZE, to += n * PGSIZE) {
    n = in_one_table(to, in_one_table(va, (from.end - va) / PGSIZE));
    const pte_t *source = walk(src->pagetable, va, 0);
    pte_t *target = walk(dst->pagetable, to, 0);
    for (uint64 i = 0; i < n; i++) {
      pte_t leaf = source[i] | PTE_S;
      if (traced) {
        frame_ref(PTE2PA(leaf), ONE_SHARE);
        leaf_set(dst->pagetable, to + i * PGSIZE, &target[i], leaf);
      } else {
        frame_add(&table[frame_number(leaf)], ONE_SHARE);
        target[i] = leaf;
      }
    }
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
      make_shareable(src, from) == 0 && make_tables(dst, to, length) == 0) {
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
  for (uint64 va = pages.start, n; va < pages.end; va += n * PGSIZE) {
    n = in_one_table(va, (pages.end - va) / PGSIZE);
    pte_t *entry = walk(p->pagetable, va, 0);
    if (!entry)
      return 0;
    pte_t common = -1; // the bits that all these entries have
#pragma GCC unroll 8
    for (uint64 i = 0; i < n; i++)
      common &= entry[i];
    if ((common & (PTE_V | PTE_S)) != (PTE_V | PTE_S))
      return 0;
  }
  return 1;
}

// sz after the pages from `top` up have gone: holes that were in the middle and are now at the top go too,
// and a size that was no multiple of a page when the mapping was made on it comes back.
static uint64 fall_back(struct proc *p, uint64 top) {
  pte_t *entry;
  while (p->has_holes && top > 0 && (entry = walk(p->pagetable, top - PGSIZE, 0)) && *entry == PTE_HOLE) {
    *entry = 0;
    top -= PGSIZE;
  }
  uint64 odd = p->odd_top;
  if (PGROUNDUP(odd) < top)
    return top;
  p->odd_top = 0; // there is no mapping on it any more
  return PGROUNDUP(odd) == top ? odd : top;
}

// Takes the pages from a process that may be running on another hart: not valid any more, and no hart believes they
// are. Their entries keep the frame numbers for take_back().
static seldom void withdraw(struct proc *p, struct pages pages) {
  for (uint64 va = pages.start; va < pages.end; va += PGSIZE)
    *walk(p->pagetable, va, 0) &= ~PTE_V;
  tlb_shootdown(p);
}

// Drops the references, leaving `mark` in each entry.
static void drop_pages(struct proc *p, struct pages pages, pte_t mark) {
  struct frame *const table = frames_by_number();
  const int traced = tracing_pages();
  for (uint64 va = pages.start, n; va < pages.end; va += n * PGSIZE) {
    n = in_one_table(va, (pages.end - va) / PGSIZE);
    pte_t *entry = walk(p->pagetable, va, 0);
    for (uint64 i = 0; i < n; i++) {
      pte_t leaf = entry[i];
      entry[i] = mark;
      if (traced)
        leaf_release(p->pagetable, va + i * PGSIZE, leaf | PTE_V);
      else if ((uint32)frame_subtract(&table[frame_number(leaf)], ONE_SHARE) == 0)
        frame_free(PTE2PA(leaf));
    }
  }
}

// sz falls back if the pages were the topmost, else holes stay in their place.
static void take_back(struct proc *p, struct pages pages) {
  int at_top = pages.end == PGROUNDUP(p->sz);
  drop_pages(p, pages, at_top ? 0 : PTE_HOLE);
  if (!at_top) {
    p->has_holes = 1;
    return;
  }
  uint64 size = fall_back(p, pages.start);
  trace(TRACE_RESIZE, p->pid, p->sz, size);
  p->sz = size;
  if (p == myproc() && PGROUNDUP(size) >> PXSHIFT(1) != (pages.end - 1) >> PXSHIFT(1))
    free_empty_tables(p->pagetable, size, pages.end);
}

int unmap_shared_pages(struct proc *p, uint64 va, uint64 size) {
  struct pages pages;
  if (pages_of(&pages, va, size) < 0)
    return -1;
  acquire(&p->memory_lock);
  int result = p->pagetable && pages.end <= PGROUNDUP(p->sz) && all_shared(p, pages) ? 0 : -1;
  if (result == 0) {
    if (p != myproc()) // the caller itself forgets its translations before it returns
      withdraw(p, pages);
    take_back(p, pages);
    sfence_vma();
    trace(TRACE_UNMAP, p->pid, va, size);
  }
  release(&p->memory_lock);
  return result;
}

// } skeleton {
// uint64 map_shared_pages(struct proc *src, struct proc *dst, uint64 src_va, uint64 size) {
//   (void)src, (void)dst, (void)src_va, (void)size;
//   return -1; // your work
// }
//
// int unmap_shared_pages(struct proc *p, uint64 va, uint64 size) {
//   (void)p, (void)va, (void)size;
//   return -1; // your work
// }
// } end

int is_writable(struct proc *p, uint64 va, uint64 size) {
  struct pages pages;
  if (pages_of(&pages, va, size) < 0)
    return 0;
  acquire(&p->memory_lock);
  int writable = p->pagetable && va + size <= p->sz;
  for (uint64 page = pages.start; writable && page < pages.end; page += PGSIZE)
    writable = touch_page(p, page, TOUCH_WRITE) != 0;
  release(&p->memory_lock);
  sfence_vma();
  return writable;
}
