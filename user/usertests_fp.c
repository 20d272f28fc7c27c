// usertests: floating point registers are a process's own: kept across switches, copied by fork, fresh after exec.
// All 32 and the rounding mode are named one by one, so the instructions stand here as assembly (RISC-V F and D
// extensions).
#include "user/usertests.h"

// Repeats an instruction for each register number n.
#define EACH_REGISTER(instruction)                                                                                     \
  ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n" instruction        \
  "\n.endr\n"

// f0 to f31 from 32 doublewords, and back.
static void fp_load(const uint64 *values) {
  __asm__ volatile(EACH_REGISTER("fld f\\n, 8*\\n(%0)") : : "r"(values) : "memory");
}

static void fp_store(uint64 *values) {
  __asm__ volatile(EACH_REGISTER("fsd f\\n, 8*\\n(%0)") : : "r"(values) : "memory");
}

static void set_rounding(uint64 mode) {
  __asm__ volatile("fsrm zero, %0\n" : : "r"(mode));
}

static uint64 get_rounding(void) {
  uint64 mode;
  __asm__ volatile("frrm %0\n" : "=r"(mode));
  return mode;
}

static void make(uint64 *values, uint64 seed) {
  for (uint64 i = 0; i < 32; i++)
    values[i] = (seed + 1) * 0x9e3779b97f4a7c15 + i * 0x0123456789abcdef;
}

static void compare(const uint64 *want) {
  uint64 got[32];
  fp_store(got);
  for (int i = 0; i < 32; i++)
    if (got[i] != want[i])
      FAIL("f%d holds 0x%lx, not 0x%lx", i, got[i], want[i]);
}

// By turns computes, sleeps, calls and is preempted, and finds its registers as it left them.
static void hold_registers(uint64 seed) {
  uint64 values[32];
  for (int round = 0; round < 8; round++) {
    make(values, seed * 100 + round);
    fp_load(values);
    set_rounding(seed % 5);
    if (round % 3 == 0)
      sleep(1);
    if (round % 3 == 1)
      for (int i = 0; i < 50; i++)
        getpid();
    for (volatile int i = 0; i < 300000; i++)
      ;
    compare(values);
    WANT(get_rounding(), seed % 5);
  }
}

static void fp_switch(void) {
  for (int i = 0; i < 8; i++)
    start(hold_registers, i);
  finish_all(8);
}

// The child begins with its parent's registers; neither sees what the other does with them afterwards.
static void fp_fork(void) {
  uint64 values[32], others[32];
  make(values, 7);
  make(others, 8);
  fp_load(values);
  set_rounding(3);
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    compare(values);
    WANT(get_rounding(), 3);
    fp_load(others);
    set_rounding(1);
    sleep(1);
    compare(others);
    exit(0);
  }
  sleep(1);
  compare(values);
  WANT(finish(pid), 0);
  compare(values);
  WANT(get_rounding(), 3);
  set_rounding(0);
}

// A new process that never loaded a register does not find what another one left there.
static void find_nothing(uint64 secret) {
  uint64 got[32];
  fp_store(got);
  for (int i = 0; i < 32; i++)
    if (got[i] == secret)
      FAIL("f%d holds another process's value", i);
}

static void leave_secret(uint64 secret) {
  uint64 values[32];
  for (int i = 0; i < 32; i++)
    values[i] = secret;
  fp_load(values);
}

static void fp_private(void) {
  for (int i = 0; i < 10; i++) {
    must_live(leave_secret, 0x5ec2e7);
    must_live(find_nothing, 0x5ec2e7);
  }
}

const struct test fp_tests[] = {
    {"fp_switch", fp_switch, 0},
    {"fp_fork", fp_fork, 0},
    {"fp_private", fp_private, 0},
    {0, 0, 0},
};
