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
  uint64 end = va + size;
  if (end <= va || end > USERTOP)
    return -1;
  *pages = (struct pages){PGROUNDDOWN(va), PGROUNDUP(end)};
  return 0;
}

// solution {
static void lock_both(struct proc *a, struct proc *b) {
  acquire(a < b ? &a->memory_lock : &b->memory_lock);
  acquire(a < b ? &b->memory_lock : &a->memory_lock);
}

#define REGION (512UL * PGSIZE) // bytes whose entries are in one table page

static inline uint64 least(uint64 a, uint64 b) {
  return a < b ? a : b;
}

// Loops over entries go by runs, whose entries are in one table page: how many pages from va to end are in its run.
static inline uint64 run_of(uint64 va, uint64 end) {
  return least(512 - PX(0, va), (end - va) / PGSIZE);
}

// Are the n leaves from this entry on present, the program's, and none of them copy-on-write?
static inline int all_shareable(const pte_t *entry, uint64 n) {
  pte_t common = -1, any = 0; // the bits that all of them have, and that one of them has
  const pte_t *end = entry + n;
  do {
    common &= *entry;
    any |= *entry;
  } while (++entry < end);
  return (common & (PTE_V | PTE_U)) == (PTE_V | PTE_U) && !(any & PTE_COW);
}

// Makes source pages ones that both sides can see: present, and no longer copy-on-write. -> the first one's
// entry, or 0.
static seldom pte_t *make_pages_shareable(struct proc *src, uint64 start, uint64 n) {
  for (uint64 va = start; va < start + n * PGSIZE; va += PGSIZE) {
    pte_t *entry = touch_page(src, va, TOUCH_READ);
    if (entry && (*entry & PTE_COW))
      entry = touch_page(src, va, TOUCH_WRITE);
    if (!entry)
      return 0;
  }
  return leaf_of(src->pagetable, start);
}

// The same for all pages. -> the first one's entry, or 0.
static inline pte_t *make_shareable(struct proc *src, struct pages from) {
  pte_t *first = 0;
  uint64 va = from.start, n;
  do {
    n = run_of(va, from.end);
    pte_t *entry = leaf_of(src->pagetable, va);
    if (!(entry && all_shareable(entry, n)) && !(entry = make_pages_shareable(src, va, n)))
      return 0;
    first = first ? first : entry;
  } while ((va += n * PGSIZE) < from.end);
  return first;
}

// A table page for each of the entries that the pages will need. -> the first one's entry, or 0.
static inline pte_t *make_tables(pagetable_t root, struct pages to) {
  pte_t *first = 0;
  uint64 va = to.start;
  do {
    pte_t *entry = leaf_of(root, va);
    if (!entry && !(entry = walk(root, va, 1)))
      return 0;
    first = first ? first : entry;
  } while ((va = (va & -REGION) + REGION) < to.end);
  return first;
}

static seldom void share_traced(pagetable_t dst, const pte_t *source, pte_t *target, uint64 to, uint64 n) {
  for (uint64 i = 0; i < n; i++) {
    pte_t leaf = source[i] | PTE_S;
    frame_ref(PTE2PA(leaf), ONE_SHARE);
    leaf_set(dst, to + i * PGSIZE, &target[i], leaf);
  }
}

// Maps n pages at va; their entries have no table page's end between them.
static inline void share_run(pagetable_t dst, uint64 va, pte_t *target, const pte_t *source, uint64 n) {
  struct frame *const table = frames_by_number();
  if (tracing_pages()) {
    share_traced(dst, source, target, va, n);
    return;
  }
  const pte_t *end = source + n;
  do {
    pte_t leaf = *source;
    frame_add(&table[frame_number(leaf)], ONE_SHARE);
    *target++ = leaf | PTE_S;
  } while (++source < end);
}

// Every page is there, and every table page: nothing here fails. The entries are those of the first pages.
static inline void share_pages(pagetable_t src, uint64 from, const pte_t *source, pagetable_t dst, struct pages to,
                               pte_t *target) {
  uint64 va = to.start;
  for (;;) {
    uint64 n = least(512 - PX(0, from), run_of(va, to.end));
    share_run(dst, va, target, source, n);
    if ((va += n * PGSIZE) >= to.end)
      break;
    from += n * PGSIZE;
    source = leaf_of(src, from);
    target = leaf_of(dst, va);
  }
}

uint64 map_shared_pages(struct proc *src, struct proc *dst, uint64 src_va, uint64 size) {
  struct pages from;
  uint64 result = -1;
  if (src == dst || pages_of(&from, src_va, size) < 0)
    return -1;
  uint64 length = from.end - from.start;

  lock_both(src, dst);
  struct pages to = {PGROUNDUP(dst->sz), PGROUNDUP(dst->sz) + length};
  pte_t *source, *target; // the first pages' entries
  // A process that has exited has no page table and no size.
  if (dst->pagetable && from.end <= PGROUNDUP(src->sz) && to.end <= USERTOP && (source = make_shareable(src, from)) &&
      (target = make_tables(dst->pagetable, to))) {
    share_pages(src->pagetable, from.start, source, dst->pagetable, to, target);
    if (dst->sz != to.start)
      dst->odd_top = dst->sz;
    trace(TRACE_RESIZE, dst->pid, dst->sz, to.end);
    WRITE_ONCE(dst->sz, to.end);
    result = to.start + src_va % PGSIZE;
    trace(TRACE_MAP, src->pid, dst->pid, src_va, result, size);
  }
  release(&src->memory_lock);
  release(&dst->memory_lock);
  return result;
}

// Every page of the range mapped, and shared in from another process? -> the first one's entry, or 0.
static inline pte_t *all_shared(pagetable_t root, struct pages pages) {
  pte_t *first = 0;
  uint64 va = pages.start, n;
  do {
    n = run_of(va, pages.end);
    pte_t *entry = leaf_of(root, va);
    if (!entry)
      return 0;
    first = first ? first : entry;
    pte_t common = -1; // the bits that all these entries have
    const pte_t *end = entry + n;
    do
      common &= *entry;
    while (++entry < end);
    if ((common & (PTE_V | PTE_S)) != (PTE_V | PTE_S))
      return 0;
  } while ((va += n * PGSIZE) < pages.end);
  return first;
}

// Is the page below `top` a hole? Its entry goes if so: it is the top of memory now.
static seldom int drop_hole(struct proc *p, uint64 top) {
  pte_t *entry = top > 0 ? walk(p->pagetable, top - PGSIZE, 0) : 0;
  int hole = entry && *entry == PTE_HOLE;
  if (hole)
    *entry = 0;
  return hole;
}

// sz after the pages from `top` up have gone: holes that were in the middle and are now at the top go too,
// and a size that was no multiple of a page when the mapping was made on it comes back.
static inline uint64 fall_back(struct proc *p, uint64 top) {
  while (p->has_holes && drop_hole(p, top))
    top -= PGSIZE;
  uint64 odd = p->odd_top;
  if (odd == 0 || PGROUNDUP(odd) < top)
    return top;
  p->odd_top = 0; // there is no mapping on it any more
  return PGROUNDUP(odd) == top ? odd : top;
}

// Takes the pages from a process that may be running on another hart: not valid any more, and no hart believes they
// are. Their entries keep the frame numbers for drop_pages().
static seldom void withdraw(struct proc *p, struct pages pages) {
  for (uint64 va = pages.start; va < pages.end; va += PGSIZE)
    *walk(p->pagetable, va, 0) &= ~PTE_V;
  tlb_shootdown(p);
}

static seldom void drop_traced(pagetable_t root, uint64 va, pte_t *entry, pte_t mark) {
  pte_t leaf = *entry;
  *entry = mark;
  leaf_release(root, va, leaf | PTE_V);
}

// Drops the references of n pages at va, leaving `mark` in each entry.
static inline void drop_run(pagetable_t root, uint64 va, pte_t *entry, uint64 n, pte_t mark) {
  struct frame *const table = frames_by_number();
  const pte_t *end = entry + n;
  if (tracing_pages()) {
    for (; entry < end; va += PGSIZE)
      drop_traced(root, va, entry++, mark);
    return;
  }
  do {
    pte_t leaf = *entry;
    *entry = mark;
    if (__builtin_expect((uint32)frame_subtract(&table[frame_number(leaf)], ONE_SHARE) == 0, 0))
      frame_free(PTE2PA(leaf));
  } while (++entry < end);
}

// The same for all pages; entry is the first one's.
static inline void drop_pages(pagetable_t root, struct pages pages, pte_t *entry, pte_t mark) {
  uint64 va = pages.start;
  for (;;) {
    uint64 n = run_of(va, pages.end);
    drop_run(root, va, entry, n, mark);
    if ((va += n * PGSIZE) >= pages.end)
      break;
    entry = leaf_of(root, va);
  }
}

static seldom void leave_holes(struct proc *p, struct pages pages, pte_t *entry) {
  drop_pages(p->pagetable, pages, entry, PTE_HOLE);
  p->has_holes = 1;
}

// sz falls back if the pages were the topmost, else holes stay in their place.
static inline void take_back(struct proc *p, struct pages pages, pte_t *entry) {
  if (pages.end < PGROUNDUP(p->sz)) {
    leave_holes(p, pages, entry);
    return;
  }
  drop_pages(p->pagetable, pages, entry, 0);
  uint64 size = fall_back(p, pages.start);
  trace(TRACE_RESIZE, p->pid, p->sz, size);
  WRITE_ONCE(p->sz, size);
  if (size <= ((pages.end - 1) & -REGION) && p == myproc()) // nothing is left in the last table page
    free_empty_tables(p->pagetable, size, pages.end);
}

uint64 unmap_shared_pages(struct proc *p, uint64 va, uint64 size) {
  struct pages pages;
  uint64 result = -1;
  if (pages_of(&pages, va, size) < 0)
    return -1;
  acquire(&p->memory_lock);
  pte_t *first;
  if (pages.end <= PGROUNDUP(p->sz) && (first = all_shared(p->pagetable, pages))) {
    if (p != myproc()) // the caller itself forgets its translations before it returns
      withdraw(p, pages);
    take_back(p, pages, first);
    sfence_vma();
    trace(TRACE_UNMAP, p->pid, va, size);
    result = 0;
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
// uint64 unmap_shared_pages(struct proc *p, uint64 va, uint64 size) {
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
