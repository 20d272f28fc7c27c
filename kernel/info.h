// What procinfo() and meminfo() report: one row per process, and the frame counts.
// Filled by the kernel (proc/sysproc.c), printed by ps and free.
#pragma once
#include "kernel/types.h"

enum procstate { UNUSED, USED, SLEEPING, RUNNABLE, RUNNING, ZOMBIE };

struct procinfo {
  int pid;
  int parent;    // pid of the parent, 0 for none
  int state;     // enum procstate
  int hart;      // where it runs or ran last
  uint64 size;   // bytes of user memory (sz)
  uint64 pages;  // frames mapped in its page table
  uint64 shared; // of these, pages with PTE_S
  char name[16];
};

struct meminfo {
  uint64 total;  // frames the allocator manages
  uint64 free;   // of these, on the free list
  uint64 shared; // frames with more than one reference
  uint64 page;   // bytes in a frame
};
