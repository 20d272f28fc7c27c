// usertests: every way in which the owner of shared pages, or a process they were mapped into, can end or change while
// the others go on. A holder keeps what it mapped, whatever becomes of the owner; nobody's frames are lost or used
// twice.
#include "user/dice.h"
#include "user/usertests.h"
#include "kernel/fcntl.h"

#define HOLDERS 4
#define PAGES 3

static int ready[2], gate[2], verdict[2];
static uchar *own;

static void close_all(void) {
  for (int i = 0; i < 2; i++) {
    close(ready[i]);
    close(gate[i]);
    close(verdict[i]);
  }
}

static void use_up_frames(void) { // so that a frame freed too early is overwritten
  uchar *other = (uchar *)sbrk(50 * PAGE);
  if (other != (uchar *)SBRK_ERROR)
    memset(other, 0xbb, 50 * PAGE);
}

// Maps the owner's pages, says so, waits until the gate opens and looks again, in itself and in a child.
static void hold(void) {
  uint64 here = map_shared_pages(parent, getpid(), (uint64)own + 9, PAGES * PAGE - 9);
  CHECK(here != ~0UL);
  WANT(differs((void *)(here - 9), PAGES * PAGE, 4), -1);
  WANT(write(ready[1], "r", 1), 1);
  char byte;
  close(gate[1]);
  WANT(read(gate[0], &byte, 1), 0);
  use_up_frames();
  int pid = fork();
  int right = differs((void *)(here - 9), PAGES * PAGE, 4) == -1;
  WANT(write(verdict[1], right ? "y" : "n", 1), 1);
  if (pid > 0)
    wait(0);
}

enum ending { BY_EXIT, BY_KILL, BY_EXEC, BY_FAULT, BY_SHRINKING, BY_FORKING, ENDINGS };

static void end_owner(enum ending how) {
  static char *argv[] = {"echo", 0};
  switch (how) {
  case BY_KILL:
    kill(getpid());
    break;
  case BY_EXEC:
    close(1);
    exec("/echo", argv);
    break;
  case BY_FAULT:
    store_to(forbidden[0]);
    break;
  case BY_SHRINKING:
    sbrk(-(int)(sbrk(0) - (char *)own));
    use_up_frames();
    break;
  case BY_FORKING: // pages it now has to copy must not be taken from the holders
    if (fork() > 0)
      wait(0);
    break;
  default:
    break;
  }
  exit(0);
}

static void be_owner(uint64 how) {
  char byte;
  own = (uchar *)memory_end();
  CHECK(sbrk(PAGES * PAGE) != SBRK_ERROR);
  fill(own, PAGES * PAGE, 4);
  parent = getpid();
  for (int i = 0; i < HOLDERS; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      hold();
      exit(0);
    }
  }
  for (int i = 0; i < HOLDERS; i++)
    WANT(read(ready[0], &byte, 1), 1);
  end_owner(how);
}

static void shm_owner_ends(void) {
  for (int how = 0; how < ENDINGS; how++) {
    char byte;
    int right = 0;
    WANT(pipe(ready), 0);
    WANT(pipe(gate), 0);
    WANT(pipe(verdict), 0);
    finish(start(be_owner, how));
    close(gate[1]);
    close(verdict[1]);
    while (read(verdict[0], &byte, 1) == 1) {
      if (byte != 'y')
        FAIL("after ending %d a holder lost its pages", how);
      right++;
    }
    WANT(right, 2 * HOLDERS); // each holder and its child
    close_all();
  }
}

// The holders end in all ways, the owner keeps its pages and shares them again.
static void end_holder(uint64 how) {
  CHECK(map_shared_pages(parent, getpid(), (uint64)own, PAGES * PAGE) != ~0UL);
  own[0] ^= 0; // its own copy of the same pages, made by fork
  end_owner(how);
}

static void shm_holder_ends(void) {
  own = (uchar *)memory_end();
  CHECK(sbrk(PAGES * PAGE) != SBRK_ERROR);
  fill(own, PAGES * PAGE, 4);
  parent = getpid();
  for (int round = 0; round < 3; round++) {
    for (int how = 0; how < ENDINGS; how++)
      start(end_holder, how);
    for (int how = 0; how < ENDINGS; how++)
      CHECK(wait(0) > 0);
    use_up_frames();
    WANT(differs(own, PAGES * PAGE, 4), -1);
  }
}

// Pages taken from a process while it reads them on another hart are gone at once: it is killed at the next read and
// sees nothing of what their owner writes afterwards.
static void read_on(uint64 unused) {
  (void)unused;
  volatile uchar *there;
  WANT(read(gate[0], &there, sizeof(there)), sizeof(there));
  WANT(*there, 'm');
  WANT(write(ready[1], "r", 1), 1);
  while (*there == 'm')
    ;
  exit(1);
}

static void shm_withdrawn(void) {
  char byte;
  WANT(pipe(ready), 0);
  WANT(pipe(gate), 0);
  own = (uchar *)memory_end() - PAGE;
  for (int i = 0; i < 20; i++) {
    *own = 'm';
    int pid = start(read_on, 0);
    uint64 there = map_shared_pages(getpid(), pid, (uint64)own, 1);
    CHECK(there != ~0UL);
    WANT(write(gate[1], &there, sizeof(there)), sizeof(there));
    WANT(read(ready[0], &byte, 1), 1);
    WANT(unmap_shared_pages(pid, there, 1), 0);
    *own = 'x';
    WANT(finish(pid), -1);
  }
  close(ready[0]);
  close(ready[1]);
  close(gate[0]);
  close(gate[1]);
}

// Mapping into and out of processes that are ending, forking and shrinking at that moment.
static void flicker(uint64 seed) {
  dice_state = seed * 7 + 3;
  for (int i = 0; i < 40; i++)
    switch (dice(4)) {
    case 0:
      sbrk(2 * PAGE);
      break;
    case 1:
      sbrk(-(int)PAGE);
      break;
    case 2:
      map_shared_pages(parent, getpid(), (uint64)own, PAGE);
      break;
    default:
      map_shared_pages(getpid(), parent, (uint64)own, PAGE);
      break;
    }
  if (seed % 2)
    kill(getpid());
}

static void meddle(uint64 unused) {
  (void)unused;
  int pids[6];
  parent = getpid();
  for (int i = 0; i < 6; i++)
    pids[i] = start(flicker, i);
  for (int i = 0; i < 300; i++) {
    int pid = pids[i % 6];
    uint64 there = map_shared_pages(parent, pid, (uint64)own, PAGE + 1);
    if (there != ~0UL && i % 3)
      unmap_shared_pages(pid, there, PAGE + 1);
    there = map_shared_pages(pid, parent, (uint64)own, 1);
    if (there != ~0UL && i % 5)
      unmap_shared_pages(parent, there, 1);
    if (i == 250)
      kill(pid);
  }
  for (int i = 0; i < 6; i++)
    CHECK(wait(0) > 0);
}

static void shm_both_busy(void) {
  own = (uchar *)memory_end();
  CHECK(sbrk(PAGES * PAGE) != SBRK_ERROR);
  fill(own, PAGES * PAGE, 4);
  for (int i = 0; i < 5; i++)
    must_live(meddle, 0);
}

const struct test shm_life_tests[] = {
    {"shm_owner_ends", shm_owner_ends, 0},
    {"shm_holder_ends", shm_holder_ends, 0},
    {"shm_withdrawn", shm_withdrawn, 0},
    {"shm_both_busy", shm_both_busy, 1},
    {0, 0, 0},
};
