// usertests: what fork copies. Parent and child see the same contents and never each other's writes, however late the
// copying is done and whoever does the writing.
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/stat.h"

#define PAGES 48

static uchar *area;

static void grow_area(void) {
  area = (uchar *)sbrk(PAGES * PAGE);
  CHECK(area != (uchar *)SBRK_ERROR);
  fill(area, PAGES * PAGE, 1);
}

static void drop_area(void) {
  sbrk(-(int)(PAGES * PAGE));
}

static void rewrite(uint64 seed) {
  WANT(differs(area, PAGES * PAGE, 1), -1);
  sleep(1); // the others write meanwhile
  fill(area, PAGES * PAGE, seed);
  sleep(1);
  WANT(differs(area, PAGES * PAGE, seed), -1);
}

static void cow_many(void) {
  grow_area();
  for (int i = 0; i < 20; i++)
    start(rewrite, 10 + i);
  WANT(differs(area, PAGES * PAGE, 1), -1);
  finish_all(20);
  WANT(differs(area, PAGES * PAGE, 1), -1);
  drop_area();
}

// The parent writes, the child must keep what it saw when it was made.
static void keep(uint64 fd) {
  char go;
  WANT(read(fd, &go, 1), 1);
  WANT(differs(area, PAGES * PAGE, 1), -1);
}

static void cow_parent_writes(void) {
  int fds[2];
  grow_area();
  WANT(pipe(fds), 0);
  for (int i = 0; i < 3; i++)
    start(keep, fds[0]);
  fill(area, PAGES * PAGE, 2);
  WANT(write(fds[1], "ggg", 3), 3);
  finish_all(3);
  WANT(differs(area, PAGES * PAGE, 2), -1);
  close(fds[0]);
  close(fds[1]);
  drop_area();
}

// The kernel writes into the copy of the process that calls it, not into a frame others still use.
static void read_into_copy(uint64 fd) {
  WANT(read(fd, area + 2 * PAGE - 40, 80), 80);
  WANT(differs(area + 2 * PAGE - 40, 80, 9), -1);
  WANT(pipe((int *)(area + 5 * PAGE)), 0);
  struct stat *st = (struct stat *)(area + 7 * PAGE - 4);
  WANT(fstat(fd, st), 0);
}

static void cow_kernel_writes(void) {
  grow_area();
  put_file("cow", 80, 9);
  int fd = open("cow", O_RDONLY);
  must_live(read_into_copy, fd);
  WANT(differs(area, PAGES * PAGE, 1), -1);
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    sleep(2);
    exit(differs(area, PAGES * PAGE, 1) == -1 ? 5 : 1);
  }
  WANT(wait((int *)area), pid);
  WANT(*(int *)area, 5);
  fill(area, 4, 1);
  close(fd);
  unlink("cow");
  drop_area();
}

// A chain of generations, each exiting before the next one reads.
static void generation(uint64 depth) {
  WANT(differs(area, PAGES * PAGE, 1), -1);
  if (depth == 0) {
    fill(area, PAGES * PAGE, 2);
    return;
  }
  must_live(generation, depth - 1);
  WANT(differs(area, PAGES * PAGE, 1), -1);
  area[depth * PAGE] ^= 1;
}

static void cow_chain(void) {
  grow_area();
  must_live(generation, 12);
  WANT(differs(area, PAGES * PAGE, 1), -1);
  drop_area();
}

// The one that forked goes first: the child is the sole owner and writes without a copy.
static void leave_heir(uint64 fd) {
  int pid = fork();
  CHECK(pid >= 0);
  if (pid > 0)
    return;
  sleep(2);
  int right = differs(area, PAGES * PAGE, 1) == -1;
  fill(area, PAGES * PAGE, 2);
  right = right && differs(area, PAGES * PAGE, 2) == -1;
  write(fd, right ? "y" : "n", 1);
}

static void cow_heir(void) {
  int fds[2];
  char verdict;
  grow_area();
  WANT(pipe(fds), 0);
  must_live(leave_heir, fds[1]);
  close(fds[1]);
  WANT(read(fds[0], &verdict, 1), 1);
  WANT(verdict, 'y');
  WANT(read(fds[0], &verdict, 1), 0);
  close(fds[0]);
  WANT(differs(area, PAGES * PAGE, 1), -1);
  drop_area();
}

// fork costs table pages, not copies: a large process can be forked many times over.
static void rest(uint64 both) {
  char byte;
  close(both >> 8);
  read(both & 0xff, &byte, 1);
}

static void cow_cheap(void) {
  int fds[2];
  int bytes = free_frames() / 2 * PAGE;
  char *base = sbrk(bytes);
  CHECK(base != SBRK_ERROR);
  for (int i = 0; i < bytes; i += PAGE)
    base[i] = i >> 12;
  WANT(pipe(fds), 0);
  for (int i = 0; i < 10; i++)
    start(rest, fds[1] << 8 | fds[0]);
  for (int i = 0; i < bytes; i += PAGE)
    if (base[i] != (char)(i >> 12))
      FAIL("byte %d changed", i);
  close(fds[1]);
  finish_all(10);
  close(fds[0]);
  sbrk(-bytes);
}

// When there is no frame for a copy, the process that writes is killed; the others keep all they had.
static void spend(uint64 bytes) {
  char *base = sbrk(0) - bytes;
  for (uint64 i = 0; i < bytes; i += PAGE)
    base[i] ^= 1;
}

static void cow_overcommit(void) {
  int bytes = free_frames() / 3 * 2 * PAGE;
  char *base = sbrk(bytes);
  CHECK(base != SBRK_ERROR);
  for (int i = 0; i < bytes; i += PAGE)
    base[i] = i >> 12;
  must_die(spend, bytes);
  for (int i = 0; i < bytes; i += PAGE)
    if (base[i] != (char)(i >> 12))
      FAIL("byte %d changed", i);
  sbrk(-bytes);
}

// Text and the stack are shared and copied like the rest.
static void cow_stack(void) {
  volatile int mark[64];
  for (int i = 0; i < 64; i++)
    mark[i] = i;
  for (int c = 0; c < 8; c++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      for (int i = 0; i < 64; i++) {
        WANT(mark[i], i);
        mark[i] = c;
      }
      sleep(1);
      for (int i = 0; i < 64; i++)
        WANT(mark[i], c);
      exit(0);
    }
  }
  finish_all(8);
  for (int i = 0; i < 64; i++)
    WANT(mark[i], i);
}

const struct test cow_tests[] = {
    {"cow_many", cow_many, 0},
    {"cow_parent_writes", cow_parent_writes, 0},
    {"cow_kernel_writes", cow_kernel_writes, 0},
    {"cow_chain", cow_chain, 0},
    {"cow_heir", cow_heir, 0},
    {"cow_stack", cow_stack, 0},
    {"cow_cheap", cow_cheap, 1},
    {"cow_overcommit", cow_overcommit, 1},
    {0, 0, 0},
};
