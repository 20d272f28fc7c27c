// The allocator of physical frames, and the count of references to each (mm/frame.h).
// Counts change atomically; kmem.lock guards the free list only, so it is held for a few instructions.
#include "kernel/mm/frame.h"
#include "kernel/boot/boot.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/proc/lock.h"
#include "kernel/trace/trace.h"

#define POISON 0x5a5a5a5a5a5a5a5aUL // what a freed frame holds in debug builds

extern char end[]; // kernel.ld: first address after the kernel image

struct kmem kmem;
struct frame *frames;
uint32 nframes;
uint32 first_frame;

static char *boot_top = end; // next address boot_alloc() gives; boot hart only

void *boot_alloc(uint64 bytes) {
  char *block = boot_top;
  boot_top += PGROUNDUP(bytes);
  if (frames || pa_of(boot_top) > machine.memory_end)
    panic("boot_alloc: %lu bytes more than this machine has, or too late", bytes);
  memset(block, 0, PGROUNDUP(bytes)); // on a warm reset RAM holds the last run
  return block;
}

static void *frame_address(uint32 number) {
  return kva(KERNBASE + ((uint64)number << PGSHIFT));
}

#ifdef DEBUG
static void poison(void *p) {
  for (uint64 *word = p; word < (uint64 *)p + PGSIZE / 8; word++)
    *word = POISON;
}

static void check_poison(const void *p) {
  for (const uint64 *word = p; word < (const uint64 *)p + PGSIZE / 8; word++)
    if (*word != POISON)
      panic("frame 0x%lx was written after it was freed: 0x%lx at 0x%lx", pa_of(p), *word, pa_of(word));
}
#else
static void poison(void *p) {
  (void)p;
}
static void check_poison(const void *p) {
  (void)p;
}
#endif

// All of RAM above the kernel image and the boot allocations becomes free.
void kinit(void) {
  initlock(&kmem.lock, RANK_FRAMES);
  nframes = (machine.memory_end - KERNBASE) >> PGSHIFT;
  struct frame *table = boot_alloc(nframes * sizeof(struct frame));
  frames = table;
  first_frame = (pa_of(boot_top) - KERNBASE) >> PGSHIFT;
  for (uint32 i = 0; i < first_frame; i++)
    frames[i].count = 1;
  for (uint32 i = first_frame; i < nframes; i++) {
    poison(frame_address(i));
    frames[i].next = i + 1 < nframes ? i + 1 : NO_FRAME;
  }
  kmem.freelist = first_frame < nframes ? first_frame : NO_FRAME;
  kmem.nfree = nframes - first_frame;
}

// A frame, if more than `keep` are free. Part of its callers, whose callers the trace names.
static inline __attribute__((always_inline)) void *take_frame(uint32 keep) {
  if (fail_here(FAIL_frame))
    return 0;
  note_frame_change();
  acquire(&kmem.lock);
  if (kmem.nfree <= keep) {
    release(&kmem.lock);
    return 0;
  }
  uint32 number = kmem.freelist;
  kmem.freelist = frames[number].next;
  WRITE_ONCE(kmem.nfree, kmem.nfree - 1);
  release(&kmem.lock);

  void *p = frame_address(number);
  check_poison(p);
  frames[number].both = ONE_REFERENCE;
  trace(TRACE_ALLOC, pa_of(p), READ_ONCE(kmem.nfree), (uint64)__builtin_return_address(0));
  return p;
}

void *kalloc(void) {
  return take_frame(FRAMES_KEPT);
}

void *kalloc_last(void) {
  return take_frame(0);
}

void *kalloc_zero(void) {
  void *p = kalloc();
  if (p)
    page_zero(p);
  return p;
}

int kalloc_reserve(void *list[], int n) {
  for (int i = 0; i < n; i++) {
    if ((list[i] = kalloc()) == 0) {
      while (i > 0)
        kfree(list[--i]);
      return -1;
    }
  }
  return 0;
}

void frame_free(uint64 pa) {
  note_frame_change();
  poison(kva(pa));
  acquire(&kmem.lock);
  frame_of(pa)->next = kmem.freelist;
  kmem.freelist = (pa - KERNBASE) >> PGSHIFT;
  WRITE_ONCE(kmem.nfree, kmem.nfree + 1);
  trace(TRACE_FREE, pa, kmem.nfree); // before anyone can allocate it again
  release(&kmem.lock);
}

void kfree(void *p) {
  uint64 number = (pa_of(p) - KERNBASE) >> PGSHIFT;
  if ((uint64)p % PGSIZE || number < first_frame || number >= nframes || frames[number].count == 0)
    panic("kfree: 0x%lx is not an allocated frame", (uint64)p);
  frame_unref(pa_of(p), ONE_REFERENCE);
}
