// usertests: what map_shared_pages and unmap_shared_pages refuse, with nothing changed: who may share with whom, which
// addresses and sizes, which permissions a mapping has.
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"

#define NOWHERE (~0UL)

// A refused call leaves the size and the frames as they are.
static void refuse_map(int src, int dst, uint64 va, uint64 size) {
  uint64 top = (uint64)sbrk(0);
  uint64 got = map_shared_pages(src, dst, va, size);
  if (got != NOWHERE)
    FAIL("mapping (%d, %d, 0x%lx, 0x%lx) gave 0x%lx", src, dst, va, size, got);
  WANT((uint64)sbrk(0), top);
}

static void refuse_unmap(int pid, uint64 va, uint64 size) {
  uint64 top = (uint64)sbrk(0);
  if (unmap_shared_pages(pid, va, size) != -1)
    FAIL("unmapping (%d, 0x%lx, 0x%lx) was accepted", pid, va, size);
  WANT((uint64)sbrk(0), top);
}

static uint64 own_pages(int pages) {
  uchar *own = (uchar *)PGROUNDUP(sbrk((pages + 1) * PAGE));
  sbrk((int)((uint64)own + pages * PAGE - (uint64)sbrk(0)));
  memset(own, 'o', pages * PAGE);
  return (uint64)own;
}

static void bad_addresses(uint64 va) {
  int me = getpid();
  uint64 end = va + 2 * PAGE; // the parent's memory ends here
  static const uint64 sizes[] = {1, 16, PAGE, 2 * PAGE, 1UL << 31, 1UL << 32, 1UL << 38, 1UL << 63, ~0UL};
  for (uint j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
    for (int i = 0; forbidden[i]; i++)
      refuse_map(parent, me, forbidden[i], sizes[j]);
    refuse_map(parent, me, end, sizes[j]);
    refuse_map(parent, me, end - 1, sizes[j] + 1);
    refuse_map(parent, me, MAXVA - PAGE, sizes[j]);
    refuse_map(parent, me, MAXVA - 1, sizes[j]);
    refuse_map(parent, me, 0 - sizes[j], sizes[j]);
  }
  refuse_map(parent, me, va, 0);
  refuse_map(parent, me, va, 2 * PAGE + 1);
  refuse_map(parent, me, va + 1, 2 * PAGE);
  refuse_map(parent, me, va, 0 - va);     // up to the end of the address space
  refuse_map(parent, me, va, 0 - va + 1); // and around it
  refuse_map(parent, me, va, ~0UL);
  refuse_map(parent, me, va, ~0UL - 4095);
  refuse_map(parent, me, va, ~0UL - va);
  refuse_map(parent, me, 0, 0);
  refuse_map(parent, me, ~0UL, 1);
  refuse_map(parent, me, ~0UL, 2);
  uint64 guard = (uint64)__builtin_frame_address(0) / PAGE * PAGE - PAGE;
  refuse_map(parent, me, guard, 1);
  refuse_map(parent, me, guard, 2 * PAGE);
  refuse_map(parent, me, guard - PAGE, 3 * PAGE);
}

static void shm_bad_address(void) {
  with_child(bad_addresses, own_pages(2));
}

static void bad_pids(uint64 va) {
  static const int pids[] = {0, -1, -2, 1000000, 0x7fffffff, (int)0x80000000};
  int me = getpid(), dead = start(load_from, va);
  for (uint i = 0; i < sizeof(pids) / sizeof(pids[0]); i++) {
    refuse_map(pids[i], me, va, 16);
    refuse_map(me, pids[i], va, 16);
    refuse_map(parent, pids[i], va, 16);
    refuse_map(pids[i], pids[i], va, 16);
    refuse_unmap(pids[i], va, 16);
  }
  refuse_map(me, me, va, 16);
  refuse_map(parent, parent, va, 16);
  for (int tries = 0; map_shared_pages(me, dead, va, 16) != NOWHERE; tries++) { // until it has exited
    CHECK(tries < 1000);
    sleep(1);
  }
  refuse_map(dead, me, va, 16); // a zombie
  refuse_map(me, dead, va, 16);
  refuse_unmap(dead, va, 16);
  WANT(finish(dead), 0);
  refuse_map(dead, me, va, 16); // gone
  refuse_map(me, dead, va, 16);
}

static void shm_bad_pid(void) {
  with_child(bad_pids, own_pages(2));
}

// Siblings, strangers, init and the server share nothing; nor may a third process join two others.
static int other;

static void wait_for_end(uint64 fd) {
  char byte;
  read(fd, &byte, 1);
}

static void intrude(uint64 va) {
  int me = getpid();
  refuse_map(other, me, va, 16);
  refuse_map(me, other, va, 16);
  refuse_map(parent, other, va, 16);
  refuse_map(other, parent, va, 16);
  refuse_unmap(other, va, 16);
  refuse_map(2, me, 0, 16); // the server
  refuse_map(me, 2, va, 16);
  refuse_unmap(2, 0, 16);
  refuse_unmap(1, 0, 16);
  refuse_map(1, 2, 0, 16);
  refuse_map(2, 1, 0, 16);
  int uncle_pid = parent;
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) { // the nephew of other
    refuse_map(other, getpid(), va, 16);
    refuse_map(getpid(), other, va, 16);
    refuse_map(me, uncle_pid, va, 16); // two relatives, neither of them the caller
    exit(0);
  }
  WANT(finish(pid), 0);
}

static void shm_strangers(void) {
  int fds[2];
  uint64 va = own_pages(1);
  WANT(pipe(fds), 0);
  other = fork();
  CHECK(other >= 0);
  if (other == 0) {
    close(fds[1]);
    wait_for_end(fds[0]);
    exit(0);
  }
  parent = getpid();
  int pid = start(intrude, va), status;
  int reaped = wait(&status);
  close(fds[1]);
  WANT(reaped, pid);
  WANT(status, 0);
  WANT(finish(other), 0);
  close(fds[0]);
}

// Only what was mapped in can be unmapped, and only once.
static void unmap_rules(uint64 va) {
  int me = getpid();
  uint64 before = (uint64)sbrk(0);
  uint64 heap = (uint64)sbrk(2 * PAGE);
  refuse_unmap(me, heap, PAGE); // private
  refuse_unmap(me, 0, PAGE);    // text
  refuse_unmap(me, (uint64)__builtin_frame_address(0), 16);
  refuse_unmap(me, va, PAGE); // its own copy of the parent's page
  uint64 here = map_shared_pages(parent, me, va, 3 * PAGE);
  CHECK(here != NOWHERE);
  refuse_unmap(me, here - PAGE, 2 * PAGE); // private and shared
  refuse_unmap(me, here, 0);
  refuse_unmap(me, here, 3 * PAGE + 1);
  refuse_unmap(me, here, ~0UL);
  refuse_unmap(me, here, 0 - here);
  for (int i = 0; forbidden[i]; i++) {
    refuse_unmap(me, forbidden[i], PAGE);
    refuse_unmap(me, here, forbidden[i] - here);
  }
  refuse_unmap(parent, va, PAGE); // the owner's pages are its own
  WANT(*(uchar *)(here + 2 * PAGE), 'o');
  WANT(unmap_shared_pages(me, here, 3 * PAGE), 0);
  refuse_unmap(me, here, 3 * PAGE);
  refuse_unmap(me, here, 1);
  sbrk(-2 * (int)PAGE);
  WANT((uint64)sbrk(0), before);
}

static void shm_unmap_rules(void) {
  uint64 va = own_pages(3);
  with_child(unmap_rules, va);
  WANT(*(uchar *)va, 'o');
}

// Parts of a mapping may go in any order: the size falls only when the top goes, holes stay empty.
static void unmap_parts(uint64 va) {
  int me = getpid();
  uint64 before = (uint64)sbrk(0);
  uint64 here = map_shared_pages(parent, me, va, 5 * PAGE);
  CHECK(here != NOWHERE);
  WANT(unmap_shared_pages(me, here + PAGE, PAGE), 0);
  WANT((uint64)sbrk(0), before + 5 * PAGE);
  must_die(load_from, here + PAGE);
  must_live(load_from, here);
  must_live(load_from, here + 2 * PAGE);
  refuse_unmap(me, here, 5 * PAGE); // a page of it is gone
  refuse_unmap(me, here + PAGE, PAGE);
  WANT(unmap_shared_pages(me, here + 4 * PAGE, PAGE), 0);
  CHECK((uint64)sbrk(0) <= before + 4 * PAGE);
  must_die(load_from, here + 4 * PAGE);
  WANT(unmap_shared_pages(me, here, PAGE), 0);
  WANT(unmap_shared_pages(me, here + 2 * PAGE, 2 * PAGE), 0);
  CHECK((uint64)sbrk(0) < before + 4 * PAGE);
  CHECK((uint64)sbrk(0) >= before);
  char *heap = sbrk(PAGE);
  CHECK(heap != SBRK_ERROR);
  memset(heap, 1, PAGE);
}

static void shm_unmap_parts(void) {
  uint64 va = own_pages(5);
  with_child(unmap_parts, va);
}

// A mapping allows what the owner's page allows: text stays unwritable, data stays data.
static void permissions(uint64 va) {
  int me = getpid();
  uint64 text = map_shared_pages(parent, me, (uint64)shm_strangers, 64);
  CHECK(text != NOWHERE);
  WANT(memcmp((void *)text, (void *)shm_strangers, 64), 0);
  must_live(load_from, text);
  must_die(store_to, text);
  int fds[2];
  WANT(pipe(fds), 0);
  WANT(write(fds[1], "12", 2), 2);
  FAILS(read(fds[0], (void *)text, 2));
  close(fds[0]);
  close(fds[1]);
  uint64 data = map_shared_pages(parent, me, va, PAGE);
  CHECK(data != NOWHERE);
  must_live(load_from, data);
  must_die(jump_to, data);
  WANT(unmap_shared_pages(me, text, 64), 0);
  WANT(unmap_shared_pages(me, data, PAGE), 0);
}

static void shm_permissions(void) {
  uint64 va = own_pages(1);
  *(volatile ushort *)va = 0x8082; // ret, or jumping there could be deadly even if it is allowed
  with_child(permissions, va);
}

// A destination full to the top of user memory has no room, and an exhausted machine no frames: -1, and all as before.
static void no_room(uint64 va) {
  while (sbrklazy(1 << 30) != SBRK_ERROR)
    ;
  while (sbrklazy(1 << 20) != SBRK_ERROR)
    ;
  while (sbrklazy(PAGE) != SBRK_ERROR)
    ;
  refuse_map(parent, getpid(), va, PAGE);
  sbrk(-(int)PAGE);
  refuse_map(parent, getpid(), va + 1, PAGE);
  uint64 here = map_shared_pages(parent, getpid(), va, PAGE);
  CHECK(here != NOWHERE);
  WANT(*(uchar *)here, 'o');
}

static void no_frames(uint64 va) {
  int me = getpid();
  for (int step = 64 * (int)PAGE; step >= (int)PAGE; step /= 4)
    while (sbrk(step) != SBRK_ERROR)
      ;
  for (int i = 0; i < 600; i++) // needs a new table page at some point
    if (map_shared_pages(parent, me, va, 4 * PAGE) == NOWHERE)
      break;
  refuse_map(parent, me, va, 0);
}

static void shm_no_room(void) {
  with_child(no_room, own_pages(4));
}

static void shm_no_frames(void) {
  with_child(no_frames, own_pages(4));
}

const struct test shm_rule_tests[] = {
    {"shm_bad_address", shm_bad_address, 0},
    {"shm_bad_pid", shm_bad_pid, 0},
    {"shm_strangers", shm_strangers, 0},
    {"shm_unmap_rules", shm_unmap_rules, 0},
    {"shm_unmap_parts", shm_unmap_parts, 0},
    {"shm_permissions", shm_permissions, 0},
    {"shm_no_room", shm_no_room, 0},
    {"shm_no_frames", shm_no_frames, 1},
    {0, 0, 0},
};
