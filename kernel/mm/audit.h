// The idle recount of references in debug builds (mm/audit.c); nothing in others.
#pragma once
#include "kernel/types.h"

#ifdef DEBUG
extern uint64 frame_changes;
extern int loose_tables;
void auditinit(void); // before kinit()
void audit(void);     // idle hart 0, interrupts off
static inline void note_frame_change(void) {
  __atomic_fetch_add(&frame_changes, 1, __ATOMIC_SEQ_CST);
}
// A page table is loose from before its process lets go of it until all its references are dropped.
static inline void note_loose_table(int begins) {
  __atomic_fetch_add(&loose_tables, begins ? 1 : -1, __ATOMIC_SEQ_CST);
}
#else
static inline void auditinit(void) {}
static inline void audit(void) {}
static inline void note_frame_change(void) {}
static inline void note_loose_table(int begins) {
  (void)begins;
}
#endif
