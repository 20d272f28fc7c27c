// The idle recount of references in debug builds (mm/audit.c); nothing in others.
#pragma once
#include "kernel/types.h"

#ifdef DEBUG
extern uint64 frame_changes;
void auditinit(void); // before kinit()
void audit(void);     // idle hart 0, interrupts off
static inline void note_frame_change(void) {
  __atomic_fetch_add(&frame_changes, 1, __ATOMIC_SEQ_CST);
}
#else
static inline void auditinit(void) {}
static inline void audit(void) {}
static inline void note_frame_change(void) {}
#endif
