// What the files of fuzz share: the pages that all its processes see, and how a random call is made.
// A host finds `area` in the program's symbols and reads there who was in which call (tests/harness/fuzz.py).
#pragma once
#include "kernel/types.h"
#include "user/raw_call.h"

#define FUZZ_SLOTS 48
#define FUZZ_PAGES 12   // of shared memory
#define FUZZ_FIRST 4096 // bytes of it that are not for calls to read and write
#define FUZZ_OWN 3      // pages behind it, of each process alone, which are

struct fuzz_call {
  uint64 number;
  uint64 args[RAW_ARGS];
};

// One process at work.
struct fuzz_slot {
  int pid;               // 0: free
  uint64 number;         // what its choices follow from
  uint64 count;          // calls so far
  struct fuzz_call last; // the call it is in, or made last
};

struct fuzz_shared {
  uint64 made;                  // calls so far, of all
  uint64 good;                  // of these, so many gave something else than -1
  uint64 disturbed;             // calls that changed what the processes decide by: none may
  int workers;                  // so many slots are theirs, by their place
  int stop;                     // nobody makes another
  int owner, foreman, watchman; // processes apart
  struct fuzz_slot slot[FUZZ_SLOTS];
};

extern struct fuzz_shared *shared;

#define FORKED 1
// Makes one call and notes it in the slot first: FORKED in the child of a fork, else 0. May not return.
int random_call(struct fuzz_slot *slot);
const char *call_without_grammar(void); // 0 if there is none
