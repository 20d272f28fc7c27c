// Physical frames and who refers to them. A frame is freed when its last reference goes.
// mm/kalloc.c implements this; counts are atomic, kmem.lock guards only the list of free frames.
#pragma once
#include "kernel/memlayout.h"
#include "kernel/mm/audit.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"
#include "kernel/trace/trace.h"

// Both counts change by one atomic addition to `both`. A free frame's count is 0, and then shares means nothing.
struct frame {
  union {
    struct {
      uint32 count; // references: page-table leaves, or one for a kernel object
      union {
        uint32 shares; // of these, leaves with PTE_S
        uint32 next;   // while free: number of the next free frame, NO_FRAME at the end (kmem.lock)
      };
    };
    uint64 both;
  };
};
#define ONE_REFERENCE 1UL
#define ONE_SHARE ((1UL << 32) | ONE_REFERENCE)
#define NO_FRAME 0xffffffffu

// So many free frames are kept for copies of pages that small processes share since a fork: fork could not have
// refused them, and init or a shell must not die for the memory that others took.
#define FRAMES_KEPT 16

struct kmem {
  struct spinlock lock; // guards the fields below and frames[].next
  uint32 freelist;      // first free frame
  uint32 nfree;         // how many
};

extern struct kmem kmem;
extern struct frame *frames; // one per frame of RAM; frame number 0 is at KERNBASE
extern uint32 nframes;       // length of frames[]
extern uint32 first_frame;   // frames below hold the kernel image and boot_alloc(); never freed

// The direct map: where the kernel sees a physical address, and back.
static inline void *kva(uint64 pa) {
  return (void *)(pa + DIRECT_MAP);
}
static inline uint64 pa_of(const void *p) {
  return (uint64)p - DIRECT_MAP;
}
static inline struct frame *frame_of(uint64 pa) {
  return &frames[(pa - KERNBASE) >> PGSHIFT];
}

// Contiguous zeroed memory that is never freed; only before kinit(). bytes is rounded up to whole frames.
void *boot_alloc(uint64 bytes);
void kinit(void);

void *kalloc(void);      // a frame with one reference (direct-map address), contents undefined; 0 if none
void *kalloc_zero(void); // the same, filled with zeroes
void *kalloc_last(void); // the same as kalloc(), out of the frames kept if need be
void kfree(void *frame); // drop the reference of kalloc()
int kalloc_reserve(void *list[], int n); // n frames or none: 0, or -1 with nothing allocated

void frame_free(uint64 pa); // onto the free list; its last reference has gone

// Counting a reference to an allocated frame, and no longer counting one: kind is ONE_REFERENCE, or ONE_SHARE for a
// leaf with PTE_S. -> what is counted now. Loops over many pages use these; they trace and free what they have to
// themselves.
static inline uint64 frame_add(struct frame *f, uint64 kind) {
  note_frame_change();
  return __atomic_add_fetch(&f->both, kind, __ATOMIC_RELAXED);
}
static inline uint64 frame_subtract(struct frame *f, uint64 kind) {
  note_frame_change();
  return __atomic_sub_fetch(&f->both, kind, __ATOMIC_ACQ_REL);
}

static inline void frame_ref(uint64 pa, uint64 kind) {
  uint64 counts = frame_add(frame_of(pa), kind);
  trace(TRACE_REF, pa, (uint32)counts);
}
static inline void frame_unref(uint64 pa, uint64 kind) {
  uint64 counts = frame_subtract(frame_of(pa), kind);
  if ((uint32)counts == 0)
    frame_free(pa);
  else
    trace(TRACE_UNREF, pa, (uint32)counts);
}
