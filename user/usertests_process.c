// usertests: the lives of processes: fork and its limit, wait, exit status, orphans, sleeping, taking turns.
#include "user/usertests.h"

static void exit_with(uint64 status) {
  exit(status);
}

// Every int goes through exit to wait unchanged.
static void exit_status(void) {
  static const int statuses[] = {0, 1, 2, 42, 127, 128, 255, 256, 65535, 0x7fffffff, -2, -1000, -0x7fffffff - 1};
  for (uint i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
    WANT(finish(start(exit_with, statuses[i])), statuses[i]);
}

// wait without children fails at once; a bad place for the status loses no child.
static void wait_errors(void) {
  int status;
  FAILS(wait(0));
  FAILS(wait(&status));
  int pid = start(exit_with, 9);
  for (int i = 0; forbidden[i]; i++)
    FAILS(wait((int *)forbidden[i]));
  FAILS(wait((int *)wait_errors)); // text
  WANT(wait(&status), pid);
  WANT(status, 9);
  pid = start(exit_with, 9);
  WANT(wait(0), pid);
  FAILS(wait(0));
}

// Each child is reported once, with its own status, in whatever order they end.
static void wait_each(void) {
  static int pids[30];
  for (int i = 0; i < 30; i++)
    pids[i] = start(exit_with, 100 + i);
  for (int n = 0; n < 30; n++) {
    int status, pid = wait(&status), i = 0;
    while (i < 30 && pids[i] != pid)
      i++;
    if (i == 30)
      FAIL("pid %d is unknown or came twice", pid);
    WANT(status, 100 + i);
    pids[i] = 0;
  }
  FAILS(wait(0));
}

// Many children that are gone at once, and parents that wait before, while and after they go.
static void exit_races_wait(void) {
  for (int i = 0; i < 200; i++) {
    int pid = start(exit_with, i);
    if (i % 3 == 0)
      sleep(0);
    WANT(finish(pid), i);
  }
}

// fork fails when the table is full, says so with -1, and works again afterwards.
static void linger(uint64 fd) {
  char byte;
  read(fd, &byte, 1);
}

static void fork_limit(void) {
  for (int round = 0; round < 3; round++) {
    int fds[2], children = 0, pid = 0;
    WANT(pipe(fds), 0);
    while (children < 1000 && (pid = fork()) > 0)
      children++;
    if (pid == 0) {
      close(fds[1]);
      linger(fds[0]);
      exit(0);
    }
    WANT(pid, -1);
    if (children < NPROC / 2 || children > NPROC)
      FAIL("%d children fit", children);
    FAILS(fork());
    close(fds[1]);
    finish_all(children);
    close(fds[0]);
    FAILS(wait(0));
  }
}

// All processes of a full table fork, fail and exit at once.
static void fork_until_full(uint64 depth) {
  int children = 0;
  for (int i = 0; i < 4; i++) {
    int pid = fork();
    if (pid < 0)
      break;
    if (pid == 0) {
      if (depth > 0)
        fork_until_full(depth - 1);
      exit(0);
    }
    children++;
  }
  finish_all(children);
}

static void fork_bush(void) {
  for (int i = 0; i < 3; i++)
    must_live(fork_until_full, 3);
}

// A chain of forty generations, the status handed up from the last.
static void descend(uint64 depth) {
  if (depth == 0)
    exit(17);
  exit(finish(start(descend, depth - 1)));
}

static void fork_chain(void) {
  WANT(finish(start(descend, 40)), 17);
}

static void say_pids(uint64 fd) {
  for (int i = 0; i < 10; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      int self = getpid();
      write(fd, &self, sizeof(self));
      exit(0);
    }
    WANT(finish(pid), 0);
  }
}

// No pid is used twice within a short time, and parent and child agree on it.
static void pids_unique(void) {
  static int seen[80];
  int fds[2], n = 0;
  WANT(pipe(fds), 0);
  for (int i = 0; i < 8; i++)
    start(say_pids, fds[1]);
  finish_all(8);
  close(fds[1]);
  while (n < 80 && read(fds[0], &seen[n], sizeof(int)) == sizeof(int))
    n++;
  close(fds[0]);
  WANT(n, 80);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++)
      if (seen[i] == seen[j])
        FAIL("pid %d was given twice", seen[i]);
}

// The children of a process that exits go to init, which reaps them whether they are dead already or die later.
static void leave_orphans(uint64 fd) {
  for (int i = 0; i < 6; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      if (i % 2) {
        char byte;
        read(fd, &byte, 1);
      }
      exit(0);
    }
  }
}

static void orphans(void) {
  int fds[2];
  int before = processes();
  for (int i = 0; i < 8; i++) {
    WANT(pipe(fds), 0);
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      close(fds[1]);
      leave_orphans(fds[0]);
      exit(0);
    }
    WANT(finish(pid), 0);
    close(fds[1]); // the last writer: those that wait go now
    close(fds[0]);
  }
  for (int i = 0; processes() > before; i++) {
    if (i == 100)
      FAIL("%d orphans were never reaped", processes() - before);
    sleep(1);
  }
}

// Parents and children exit at the same moment, over and over. However far init is behind with the orphans, dead ones
// are no reason for fork to fail.
static void exit_together(uint64 unused) {
  (void)unused;
  for (int i = 0; i < 10; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
      exit(0);
  }
}

static void reparent_race(void) {
  for (int i = 0; i < 50; i++)
    must_live(exit_together, 0);
}

static void spin(uint64 unused) {
  (void)unused;
  for (;;)
    __asm__ volatile("" : : : "memory");
}

// Processes that never call the kernel do not keep others from running.
static void preemption(void) {
  int pids[10];
  for (int i = 0; i < 10; i++)
    pids[i] = start(spin, 0);
  int then = uptime();
  for (int i = 0; i < 5; i++)
    sleep(1);
  CHECK(uptime() - then >= 5);
  for (int i = 0; i < 10; i++)
    WANT(kill(pids[i]), 0);
  for (int i = 0; i < 10; i++) {
    int status;
    CHECK(wait(&status) > 0);
    WANT(status, -1);
  }
}

// sleep lasts at least as long as asked and returns at once when there is nothing to wait for.
static void sleep_bounds(void) {
  int then = uptime();
  WANT(sleep(0), 0);
  sleep(-1);
  sleep(-1000000);
  sleep((int)0x80000000);
  for (int i = 1; i < 4; i++) {
    then = uptime();
    WANT(sleep(i), 0);
    CHECK(uptime() - then >= i);
  }
}

static void nap(uint64 ticks) {
  int then = uptime();
  WANT(sleep(ticks), 0);
  CHECK(uptime() - then >= (int)ticks);
}

static void sleep_many(void) {
  for (int i = 0; i < 30; i++)
    start(nap, 1 + i % 7);
  finish_all(30);
}

// A call whose number is nobody's fails and changes nothing else.
static long call_number(long number) {
  register long a0 __asm__("a0") = 1;
  register long a1 __asm__("a1") = 2;
  register long a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a7) : "memory");
  return a0;
}

static void unknown_call(void) {
  static const long numbers[] = {0, -1, 23, 29, 31, 63, 64, 1000, 0x7fffffff, 1L << 32, (long)(1UL << 63)};
  for (uint i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
    if (call_number(numbers[i]) != -1)
      FAIL("call 0x%lx did something", numbers[i]);
}

// All registers but a0 come back from a system call as they went in.
static void registers_kept(void) {
  uint64 changed;
  __asm__ volatile("li s2, 0x1234567\n"
                   "li s3, 0x7654321\n"
                   "li t3, 0x1111111\n"
                   "li t6, 0x2222222\n"
                   "li a5, 0x3333333\n"
                   "li a7, 11\n" // getpid
                   "ecall\n"
                   "li t0, 0x1234567\n"
                   "xor %0, t0, s2\n"
                   "li t0, 0x7654321\n"
                   "xor t0, t0, s3\n"
                   "or %0, %0, t0\n"
                   "li t0, 0x1111111\n"
                   "xor t0, t0, t3\n"
                   "or %0, %0, t0\n"
                   "li t0, 0x2222222\n"
                   "xor t0, t0, t6\n"
                   "or %0, %0, t0\n"
                   "li t0, 0x3333333\n"
                   "xor t0, t0, a5\n"
                   "or %0, %0, t0\n"
                   : "=&r"(changed)
                   :
                   : "s2", "s3", "t0", "t3", "t6", "a0", "a5", "a7", "memory");
  WANT(changed, 0);
}

const struct test process_tests[] = {
    {"exit_status", exit_status, 0},
    {"wait_errors", wait_errors, 0},
    {"wait_each", wait_each, 0},
    {"exit_races_wait", exit_races_wait, 0},
    {"fork_limit", fork_limit, 0},
    {"fork_bush", fork_bush, 1},
    {"fork_chain", fork_chain, 0},
    {"pids_unique", pids_unique, 0},
    {"orphans", orphans, 0},
    {"reparent_race", reparent_race, 0},
    {"preemption", preemption, 0},
    {"sleep_bounds", sleep_bounds, 0},
    {"sleep_many", sleep_many, 0},
    {"unknown_call", unknown_call, 0},
    {"registers_kept", registers_kept, 0},
    {0, 0, 0},
};
