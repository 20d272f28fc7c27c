// Words that harts share without a lock, and the kernel that finds those nobody declared: `make RACES=1` (lib/races.c).
#pragma once

// One access to the whole word, of no particular order, where another hart may be at it too: by intention, and the
// word's declaration says why that is good enough. Both ends of such a pair are marked. An aligned word is accessed
// whole (unprivileged specification 17.1); gcc would make an exchange of a relaxed atomic store.
#define READ_ONCE(word) (*(const volatile __typeof__(word) *)&(word))
#define WRITE_ONCE(word, value) (*(volatile __typeof__(word) *)&(word) = (value))

#ifdef RACES
void races_begin(void); // every hart has its tp: watch from now on
extern int planted_race;

// A race on purpose, at each turn of every scheduler: a run that does not report it has not watched.
static inline void plant_race(void) {
  planted_race++;
}
#else
static inline void races_begin(void) {}
static inline void plant_race(void) {}
#endif
