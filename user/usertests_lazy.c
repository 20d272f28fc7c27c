// usertests: heap that gets its frames when first touched (sbrklazy), by the program or by the kernel for it.
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"
#include "kernel/vm.h"

#define GIB (1 << 30)

// Untouched pages cost nothing, touched ones are zero and their own.
static void lazy_touch(void) {
  uint64 before = free_frames();
  char *base = sbrklazy(64 * 1024 * 1024);
  CHECK(base != SBRK_ERROR);
  CHECK(before - free_frames() < 8);
  for (int i = 0; i < 64; i++)
    WANT(base[i * 1024 * 1024 + i], 0);
  for (int i = 0; i < 64; i++)
    base[i * 1024 * 1024 + i] = i;
  for (int i = 0; i < 64; i++)
    WANT(base[i * 1024 * 1024 + i], i);
  CHECK(before - free_frames() >= 64);
  CHECK(sbrk(-64 * 1024 * 1024) == base + 64 * 1024 * 1024);
  CHECK(before - free_frames() < 80); // the pages are back; their table pages may stay
  must_die(load_from, (uint64)base + PAGE);
}

// The address space can be filled to its end, touched here and there, forked and freed.
static void lazy_far(uint64 unused) {
  (void)unused;
  char *base = sbrk(0);
  uint64 steps = 0;
  while (sbrklazy(GIB) != SBRK_ERROR)
    steps++;
  CHECK(steps >= 250); // 256 GiB of user memory, less what is left under the top
  for (uint64 i = 0; i < steps; i += 50)
    base[i * GIB + 123] = i;
  int pid = fork();
  CHECK(pid >= 0);
  for (uint64 i = 0; i < steps; i += 50)
    WANT((uchar)base[i * GIB + 123], i);
  if (pid == 0)
    exit(0);
  WANT(finish(pid), 0);
  CHECK(sbrk(-GIB) != SBRK_ERROR);
  CHECK(sbrklazy(GIB) != SBRK_ERROR);
}

static void lazy_whole(void) {
  for (int i = 0; i < 3; i++)
    must_live(lazy_far, 0);
}

static void beat(uint64 fd) {
  for (int i = 0; i < 10; i++) {
    WANT(write(fd, "t", 1), 1);
    sleep(1);
  }
}

// Reaping children of many gibibytes, hardly touched, does not keep other processes from their work.
static void lazy_reaped(void) {
  int fds[2];
  char tick;
  WANT(pipe(fds), 0);
  start(beat, fds[1]);
  start(lazy_far, 0);
  start(lazy_far, 0);
  close(fds[1]);
  for (int i = 0; i < 10; i++)
    WANT(read(fds[0], &tick, 1), 1);
  close(fds[0]);
  finish_all(3);
}

// System calls meet pages that are not there yet, in either direction and across page borders.
static void lazy_syscalls(void) {
  char *base = sbrklazy(32 * PAGE);
  uint64 start_page = PGROUNDUP(base);
  char *edge = (char *)start_page + 3 * PAGE - 50;
  int fds[2];
  WANT(pipe(fds), 0);
  WANT(write(fds[1], edge, 100), 100); // zeros out of nowhere
  memset(work, 1, 100);
  WANT(read(fds[0], work, 100), 100);
  for (int i = 0; i < 100; i++)
    WANT(work[i], 0);
  fill(work, 100, 3);
  WANT(write(fds[1], work, 100), 100);
  WANT(read(fds[0], edge + 5 * PAGE, 100), 100);
  WANT(differs(edge + 5 * PAGE, 100, 3), -1);
  put_file("lazy", 10000, 4);
  int fd = open("lazy", O_RDONLY);
  WANT(read(fd, (char *)start_page + 10 * PAGE + 17, 10000), 10000);
  WANT(differs((char *)start_page + 10 * PAGE + 17, 10000, 4), -1);
  close(fd);
  FAILS(open((char *)start_page + 20 * PAGE, O_RDONLY | O_WRONLY | O_CREATE)); // an empty name
  int pid = fork();
  if (pid == 0)
    exit(7);
  WANT(wait((int *)(start_page + 22 * PAGE)), pid);
  WANT(*(int *)(start_page + 22 * PAGE), 7);
  WANT(pipe((int *)(start_page + 24 * PAGE - 4)), 0);
  close(*(int *)(start_page + 24 * PAGE - 4));
  close(*(int *)(start_page + 24 * PAGE));
  close(fds[0]);
  close(fds[1]);
  unlink("lazy");
  sbrk(-32 * (int)PAGE);
}

// Parent and child each get their own frame for a page neither had touched.
static void lazy_fork(void) {
  char *base = sbrklazy(16 * PAGE);
  base[8 * PAGE] = 'a';
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    WANT(base[0], 0);
    WANT(base[8 * PAGE], 'a');
    memset(base, 'c', 16 * PAGE);
    exit(0);
  }
  WANT(finish(pid), 0);
  WANT(base[8 * PAGE], 'a');
  for (uint64 i = 0; i < 16 * PAGE; i++)
    if (base[i] && i != 8 * PAGE)
      FAIL("the child's byte %d is seen", (int)i);
  sbrk(-16 * (int)PAGE);
}

// Promised memory that is not there when touched costs the life of the process that touches it, not more.
static void touch_all(uint64 unused) {
  (void)unused;
  char *base = sbrklazy(GIB);
  CHECK(base != SBRK_ERROR);
  for (uint64 i = 0; i < GIB; i += PAGE)
    base[i] = 1;
}

static void lazy_overcommit(void) {
  uint64 before = free_frames();
  must_die(touch_all, 0);
  WANT(free_frames(), before);
  must_live(load_from, (uint64)work);
}

// A system call that needs a frame for a promised page when none is left fails with -1.
static void lazy_starved_read(uint64 unused) {
  (void)unused;
  int fds[2];
  WANT(pipe(fds), 0);
  WANT(write(fds[1], "abc", 3), 3);
  char *promised = sbrklazy(2 * PAGE) + PAGE;
  for (int step = 64 * (int)PAGE; step >= (int)PAGE; step /= 4)
    while (sbrk(step) != SBRK_ERROR)
      ;
  char *last = sbrk(0);
  FAILS(read(fds[0], promised, 3));
  CHECK(sbrk(-16 * (int)PAGE) == last);
  WANT(read(fds[0], promised, 3), 3);
  WANT(memcmp(promised, "abc", 3), 0);
}

static void lazy_starved(void) {
  must_live(lazy_starved_read, 0);
}

// Lazy growth beyond the top is refused whole, shrinking below zero changes nothing, and only 2 means lazy.
static void lazy_bounds(void) {
  char *end = sbrk(0);
  sbrklazy((int)0x80000000);
  CHECK(sbrk(0) == end);
  uint64 before = free_frames();
  CHECK(sys_sbrk(8 * PAGE, 12345) == end);
  CHECK(before - free_frames() >= 8);
  CHECK(sys_sbrk(-8 * (int)PAGE, SBRK_LAZY) == end + 8 * PAGE);
  CHECK(sbrk(0) == end);
  CHECK(sbrklazy(1) == end);
  CHECK(sbrklazy(4095) == end + 1);
  end[4095] = 1;
  CHECK(sbrk(-4096) == end + 4096);
}

const struct test lazy_tests[] = {
    {"lazy_touch", lazy_touch, 0},           {"lazy_syscalls", lazy_syscalls, 0}, {"lazy_fork", lazy_fork, 0},
    {"lazy_bounds", lazy_bounds, 0},         {"lazy_whole", lazy_whole, 0},       {"lazy_reaped", lazy_reaped, 0},
    {"lazy_overcommit", lazy_overcommit, 1}, {"lazy_starved", lazy_starved, 1},   {0, 0, 0},
};
