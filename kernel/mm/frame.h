// Physical frames and who refers to them. A frame is freed when its last reference goes.
// mm/kalloc.c implements this; counts are atomic, kmem.lock guards only the list of free frames.
#pragma once
#include "kernel/memlayout.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"

struct frame {
  uint32 count;  // references: page-table leaves, or one for a kernel object; 0 means free
  uint32 shares; // of these, leaves with PTE_S
  uint32 next;   // while free: number of the next free frame, NO_FRAME at the end (kmem.lock)
};
#define NO_FRAME 0xffffffffu

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

void *kalloc(void);        // a frame with one reference (direct-map address), contents undefined; 0 if none
void *kalloc_zero(void);   // the same, filled with zeroes
void kfree(void *frame);   // drop one reference
void frame_ref(uint64 pa); // one more reference
static inline void frame_put(uint64 pa) { // one less
  kfree(kva(pa));
}
int kalloc_reserve(void *list[], int n); // n frames or none: 0, or -1 with nothing allocated
