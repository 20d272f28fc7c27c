// What the files of usertests share: the shape of a test, the checks, and ways to run code in a child.
// A test is a function that returns when all is well and calls a check otherwise; it runs in its own process, in an
// empty directory of its own, and has to leave no file, no process and no frame behind.
#pragma once
#include "kernel/types.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "user/user.h"

struct test {
  const char *name; // 0 ends a table
  void (*run)(void);
  int slow; // left out by usertests -q
};

// The tables, in the order they run; each is the last thing in its file.
extern const struct test memory_tests[], lazy_tests[], cow_tests[], process_tests[], kill_tests[], pipe_tests[],
    file_tests[], dir_tests[], race_tests[], limit_tests[], exec_tests[], elf_tests[], pointer_tests[], shm_tests[],
    shm_rule_tests[], crypto_tests[], fp_tests[], scarce_tests[], shm_life_tests[];

#define PAGE 4096UL
#define WORK_BYTES (64 * 1024)

extern uchar work[WORK_BYTES]; // every process's own buffer for file and pipe contents
extern int parent;             // of the process with_child() made

// FAIL ends the calling process with status 1 after one line that says where and why. CHECK wants a true condition;
// WANT wants an integer expression to have a value, and prints both when it does not.
#define FAIL(...)                                                                                                      \
  do {                                                                                                                 \
    printf("%s:%d: ", __FILE__, __LINE__);                                                                             \
    printf(__VA_ARGS__);                                                                                               \
    printf("\n");                                                                                                      \
    exit(1);                                                                                                           \
  } while (0)
#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition))                                                                                                  \
      FAIL("not so: %s", #condition);                                                                                  \
  } while (0)
#define WANT(expression, value) want_equal(__FILE__, __LINE__, #expression, (long)(expression), (long)(value))
#define FAILS(call) WANT(call, -1)

void want_equal(const char *file, int line, const char *text, long got, long want);

typedef void (*body)(uint64);

int start(body run, uint64 argument);                      // fork: the child runs it and exits 0; returns the pid
int finish(int pid);                                       // wait() for exactly this child; returns its status
void finish_all(int count);                                // wait() for this many children, all of which must exit 0
void must_live(body run, uint64 argument);                 // the child has to exit 0
void with_child(body run, uint64 argument);                // must_live, and parent is the caller's pid there
void must_die(body run, uint64 argument);                  // the child has to be killed: status -1
void fill(void *buffer, uint64 bytes, uint seed);          // a pattern that differs at every offset and seed
long differs(const void *buffer, uint64 bytes, uint seed); // first offset that is not fill()'s, -1 if none
void put_file(const char *name, uint64 bytes, uint seed);  // create it anew with fill()'s pattern
void want_file(const char *name, uint64 bytes, uint seed); // it holds exactly that
uint64 file_size(const char *name);
uint64 free_frames(void);
int processes(void);    // in the machine, the dead that were not waited for included
char *memory_end(void); // one past the last byte the process has, with a page of heap below it

// Bodies for must_die.
void load_from(uint64 address);
void store_to(uint64 address);
void jump_to(uint64 address);

// Addresses no user program may touch, whatever it has mapped; ends with 0.
extern const uint64 forbidden[];
