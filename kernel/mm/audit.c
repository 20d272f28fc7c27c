// Debug builds recount, when the machine is idle, who refers to each frame and compare with what frames[] says.
// The method is Plan 9's: an account that is kept as one goes is checked now and then against the goods themselves.
#include "kernel/mm/audit.h"
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

#ifdef DEBUG

#define TICKS_BETWEEN 10

uint64 frame_changes; // atomic: grows before every change of a count or of the free list
int loose_tables;     // atomic: page tables that hold references but belong to no process

static uint64 *found; // one word for each frame, like frame.both: what the page tables say; idle hart 0 only

void auditinit(void) {
  found = boot_alloc(((machine.memory_end - KERNBASE) >> PGSHIFT) * sizeof(*found));
}

static void count_frame(uint64 pa, uint64 kind) {
  uint64 number = (pa - KERNBASE) >> PGSHIFT;
  if (number >= nframes)
    panic("audit: a page table refers to 0x%lx, which is not RAM", pa);
  found[number] += kind;
}

// Counts a table page of the given level and everything below it. The owner's memory_lock is held.
static void count_table(pagetable_t table, int level) {
  count_frame(pa_of(table), ONE_REFERENCE);
  for (int i = 0; i < (level == 2 ? 256 : 512); i++) {
    if (!(table[i] & PTE_V))
      continue;
    if (level > 0)
      count_table(kva(PTE2PA(table[i])), level - 1);
    else
      count_frame(PTE2PA(table[i]), table[i] & PTE_S ? ONE_SHARE : ONE_REFERENCE);
  }
}

// The free list must be as long as it says, of frames that nobody refers to. kmem.lock held.
static void check_free_list(void) {
  uint32 length = 0;
  for (uint32 i = kmem.freelist; i != NO_FRAME; i = frames[i].next) {
    if (i >= nframes || frames[i].count || found[i] || ++length > kmem.nfree)
      panic("audit: frame number %u on the free list is in use, or the list is longer than %u", i, kmem.nfree);
  }
  if (length != kmem.nfree)
    panic("audit: %u frames on the free list, %u expected", length, kmem.nfree);
}

// Has nothing changed since `changes` was read?
static int undisturbed(uint64 changes) {
  return __atomic_load_n(&loose_tables, __ATOMIC_SEQ_CST) == 0 &&
         __atomic_load_n(&frame_changes, __ATOMIC_SEQ_CST) == changes;
}

void audit(void) {
  static uint last;
  if (READ_ONCE(ticks) - last < TICKS_BETWEEN)
    return;
  last = READ_ONCE(ticks);
  uint64 changes = __atomic_load_n(&frame_changes, __ATOMIC_SEQ_CST);
  if (!undisturbed(changes))
    return;
  memset(found, 0, nframes * sizeof(*found));
  for (struct proc *p = proc; p < &proc[NPROC]; p++) {
    acquire(&p->memory_lock);
    if (p->pagetable)
      count_table(p->pagetable, 2);
    release(&p->memory_lock);
  }
  acquire(&kmem.lock);
  // Counts may change without kmem.lock, so a difference means something only if nobody was at work when it was seen.
  for (uint32 i = first_frame; i < nframes; i++) {
    struct frame now = {.both = __atomic_load_n(&frames[i].both, __ATOMIC_SEQ_CST)};
    if (found[i] && found[i] != now.both && undisturbed(changes)) // frames of kernel objects are in no page table
      panic("audit: frame 0x%lx has %u references, %u shared, but page tables hold %u, %u shared",
            KERNBASE + ((uint64)i << PGSHIFT), now.count, now.shares, (uint32)found[i], (uint32)(found[i] >> 32));
  }
  if (undisturbed(changes))
    check_free_list();
  release(&kmem.lock);
}

#endif
