// Words that harts share without a lock, and the kernel that finds those nobody declared: `make RACES=1` (lib/races.c).
#pragma once

// One access to the whole word, of no particular order, where another hart may be at it too: by intention, and the
// word's declaration says why that is good enough. Both ends of such a pair are marked. An aligned word is accessed
// whole (unprivileged specification 17.1); gcc would make an exchange of a relaxed atomic store.
#define READ_ONCE(word) (*(const volatile __typeof__(word) *)&(word))
#define WRITE_ONCE(word, value) (*(volatile __typeof__(word) *)&(word) = (value))

#ifdef RACES
extern int planted_race;
void races_watch(void);   // from now on; rings the other harts
int races_unproven(void); // has watching begun, but nothing been found yet?

// A race on purpose, at the first turn of every scheduler after watching has begun: a run that does not report it has
// not watched. Each hart stays at it until two have met, so nothing has to happen at the right moment.
static inline void plant_race(void) {
  while (races_unproven())
    planted_race++;
}

// Every hart has its tp, and comes to its scheduler when it is rung.
static inline void races_begin(void) {
  races_watch();
  plant_race();
}
#else
static inline void races_begin(void) {}
static inline void plant_race(void) {}
#endif
