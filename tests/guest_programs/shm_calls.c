// map_shared_pages and unmap_shared_pages with everything that must be refused, with nothing changed, and with the
// shapes of mapping that must work: unaligned, spanning pages, in the middle, with holes, across fork and exit.
#include "tests/guest_programs/check.h"

#define BAD (-1UL)
#define PAGES 6

static char buffer[PAGES * PAGE] __attribute__((aligned(4096))); // the parent's, shared with its children
static int parent;
static int up[2], down[2]; // pipes to and from the parent

static uint64 own_size(void) {
  return (uint64)sbrk(0);
}

static void fill_buffer(void) {
  for (uint64 i = 0; i < sizeof(buffer); i++)
    buffer[i] = i * 7 + i / PAGE;
}

static int is_buffer(const char *p, uint64 offset, uint64 n) {
  for (uint64 i = 0; i < n; i++)
    if (p[i] != (char)((offset + i) * 7 + (offset + i) / PAGE))
      return 0;
  return 1;
}

static char *map(uint64 offset, uint64 size) {
  uint64 va = map_shared_pages(parent, getpid(), (uint64)buffer + offset, size);
  CHECK(va != BAD);
  return (char *)va;
}

static int unmap(char *va, uint64 size) {
  return unmap_shared_pages(getpid(), (uint64)va, size);
}

static void refused(int src, int dst, uint64 va, uint64 size) {
  uint64 before = own_size();
  if (map_shared_pages(src, dst, va, size) != BAD || own_size() != before) {
    failures++;
    printf("FAILED: map_shared_pages(%d, %d, 0x%lx, 0x%lx) is not refused, or changes the size\n", src, dst, va, size);
  }
}

static void bad_processes(void) {
  uint64 b = (uint64)buffer;
  int me = getpid(), zombie = fork();
  if (zombie == 0)
    exit(0);
  while (info_of(zombie).state != ZOMBIE)
    sleep(1);
  const int pids[] = {0, -1, -2147483647 - 1, 2147483647, 60000, zombie, me, CRYPTO_SRV_PID};
  for (uint i = 0; i < sizeof(pids) / sizeof(pids[0]); i++) {
    refused(pids[i], me, b, 64);
    refused(me, pids[i], b, 64);
  }
  refused(parent, parent, b, 64);
  CHECK(unmap_shared_pages(zombie, b, 64) == -1);
  CHECK(unmap_shared_pages(60000, b, 64) == -1);
  CHECK(unmap_shared_pages(CRYPTO_SRV_PID, b, 64) == -1);
  wait(0);
}

static void bad_ranges(void) {
  uint64 b = (uint64)buffer, end = info_of(parent).size;
  int me = getpid();
  const uint64 starts[] = {b,
                           b + 1,
                           end - 1,
                           end,
                           end + PAGE,
                           0,
                           1UL << 38,
                           (1UL << 38) - PAGE,
                           (1UL << 38) - 2 * PAGE,
                           1UL << 39,
                           1UL << 63,
                           -1UL,
                           -PAGE,
                           0xffffffc080000000UL};
  for (uint i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
    refused(parent, me, starts[i], 0);
    refused(parent, me, starts[i], -1UL);
    refused(parent, me, starts[i], -PAGE);
    refused(parent, me, starts[i], 1UL << 38);
    refused(parent, me, starts[i], 1UL << 63);
    refused(parent, me, starts[i], -starts[i]);
  }
  for (uint i = 3; i < sizeof(starts) / sizeof(starts[0]); i++)
    if (starts[i] != 0) {
      refused(parent, me, starts[i], 1);
      refused(parent, me, starts[i], PAGE);
    }
  refused(parent, me, end - PAGE, 2 * PAGE + 1);
}

static void bad_unmaps(void) {
  char *m = map(0, 3 * PAGE);
  uint64 size = own_size();
  CHECK(unmap(buffer, 64) == -1); // private
  CHECK(unmap(0, 64) == -1);
  CHECK(unmap(m, 0) == -1);
  CHECK(unmap(m, 4 * PAGE) == -1); // more than is mapped
  CHECK(unmap(m - 1, 2) == -1);    // begins in private memory
  CHECK(unmap(m + 3 * PAGE, 1) == -1);
  CHECK(unmap((char *)BAD, 64) == -1);
  CHECK(unmap(m, -1UL) == -1);
  CHECK(unmap((char *)(1UL << 38), PAGE) == -1);
  CHECK(own_size() == size && is_buffer(m, 0, 3 * PAGE));
  CHECK(unmap(m, 3 * PAGE) == 0);
  CHECK(unmap(m, 3 * PAGE) == -1); // twice
}

static void shapes(void) {
  const uint64 shape[][2] = {{0, 1},        {0, PAGE},        {PAGE - 1, 1},    {PAGE - 1, 2},
                             {0xff0, 32},   {100, 2 * PAGE},  {8, PAGE - 8},    {8, PAGE - 7},
                             {1, 4 * PAGE}, {PAGE, 2 * PAGE}, {0, PAGES * PAGE}};
  for (uint i = 0; i < sizeof(shape) / sizeof(shape[0]); i++) {
    uint64 before = own_size(), offset = shape[i][0], n = shape[i][1];
    uint64 pages = ((offset % PAGE) + n + PAGE - 1) / PAGE, top = (before + PAGE - 1) & -PAGE;
    char *m = map(offset, n);
    CHECK((uint64)m == top + offset % PAGE);
    CHECK(own_size() == top + pages * PAGE);
    CHECK(is_buffer(m, offset, n));
    CHECK(unmap(m, n) == 0);
    CHECK(own_size() == before);
  }
}

// Three mappings; the middle one goes, then what is around it; the size comes back only at the end.
static void holes(void) {
  uint64 before = own_size();
  char *a = map(0, PAGE), *b = map(PAGE, 2 * PAGE), *c = map(3 * PAGE, PAGE);
  uint64 full = own_size();
  CHECK(unmap(b, 2 * PAGE) == 0);
  CHECK(own_size() == full);
  CHECK(is_buffer(a, 0, PAGE) && is_buffer(c, 3 * PAGE, PAGE));
  CHECK(unmap(b, PAGE) == -1);
  int pid = fork(); // copes with the hole
  if (pid == 0)
    exit(is_buffer(a, 0, PAGE) && is_buffer(c, 3 * PAGE, PAGE) ? 0 : 1);
  int status = -1;
  wait(&status);
  CHECK(status == 0);
  char *heap = malloc(64 * 1024); // above
  CHECK(heap != 0);
  memset(heap, 1, 64 * 1024);
  CHECK(is_buffer(c, 3 * PAGE, PAGE));
  CHECK(unmap(c, PAGE) == 0 && unmap(a, PAGE) == 0);
  sbrk(-(int)(own_size() - before)); // down across the holes
  CHECK(own_size() == before);
}

// Writing goes both ways; half a mapping may be given back.
static void both_ways(void) {
  char c = 0, *m = map(100, 2 * PAGE);
  m[0] = 'X';
  m[2 * PAGE - 1] = 'Y';
  write(up[1], "w", 1);
  read(down[0], &c, 1); // the parent has looked, and changed what it saw
  CHECK(c == 'y');
  CHECK(m[0] == 'x' && m[2 * PAGE - 1] == 'y');
  char *second = m - 100 + PAGE;
  CHECK(unmap(second, 2 * PAGE) == 0);
  CHECK(m[0] == 'x');
  CHECK(unmap(m, 1) == 0);
}

// What the owner may only read, the other may only read.
static void permissions(void) {
  uint64 va = map_shared_pages(parent, getpid(), 0, 64); // text
  CHECK(va != BAD);
  CHECK(memcmp((void *)va, 0, 64) == 0);
  int pid = fork();
  if (pid == 0) {
    *(volatile char *)va = 1;
    exit(0);
  }
  int status = 0;
  wait(&status);
  CHECK(status == -1);
  CHECK(unmap((char *)va, 64) == 0);
}

// A child of the holder has the mapping too, and it lasts when the holder's goes.
static void grandchild(void) {
  char *m = map(PAGE, PAGE);
  int pid = fork();
  if (pid == 0) {
    int ok = is_buffer(m, PAGE, PAGE) && unmap(m, PAGE) == 0 && unmap(m, PAGE) == -1;
    exit(ok ? 0 : 1);
  }
  int status = -1;
  wait(&status);
  CHECK(status == 0);
  CHECK(is_buffer(m, PAGE, PAGE));
  CHECK(unmap(m, PAGE) == 0);
}

// An ancestor pushes pages into a descendant that runs on another hart, and takes them back.
static void pushed(void) {
  int pid = fork();
  if (pid == 0)
    for (;;)
      ;
  for (int i = 0; i < 50; i++) {
    uint64 va = map_shared_pages(getpid(), pid, (uint64)buffer + 8, 2 * PAGE);
    CHECK(va != BAD);
    CHECK(unmap_shared_pages(pid, va, 2 * PAGE) == 0);
  }
  CHECK(map_shared_pages(getpid(), pid, (uint64)buffer, PAGE) != BAD);
  kill(pid);
  wait(0);
}

// Two processes that are neither ancestor nor descendant.
static void strangers(int sibling) {
  refused(sibling, getpid(), (uint64)buffer, 64);
  refused(getpid(), sibling, (uint64)buffer, 64);
  CHECK(unmap_shared_pages(sibling, (uint64)buffer, 64) == -1);
}

static int child(int sibling) {
  bad_processes();
  bad_ranges();
  bad_unmaps();
  shapes();
  holes();
  both_ways();
  permissions();
  grandchild();
  pushed();
  strangers(sibling);
  map(5, 3 * PAGE); // left to exit
  return failures != 0;
}

static void round(void) {
  fill_buffer();
  int sibling = fork();
  if (sibling == 0)
    for (;;)
      sleep(1000);
  int pid = fork(), status = -1;
  if (pid == 0)
    exit(child(sibling));
  char c = 0;
  if (read(up[0], &c, 1) == 1) {
    CHECK(buffer[100] == 'X' && buffer[100 + 2 * PAGE - 1] == 'Y');
    buffer[100] = 'x';
    buffer[100 + 2 * PAGE - 1] = 'y';
    write(down[1], "y", 1);
  }
  // The order of deaths: the sibling is killed, the child ends with a mapping of ours in place.
  CHECK(wait(&status) == pid && status == 0);
  kill(sibling);
  wait(0);
}

// The owner of shared frames goes first; the other's view lasts.
static void owner_first(void) {
  int pid = fork(), status = -1;
  if (pid == 0) { // the owner
    fill_buffer();
    int owner = getpid(), heir = fork();
    if (heir == 0) {
      uint64 va = map_shared_pages(owner, getpid(), (uint64)buffer, 3 * PAGE);
      write(up[1], "m", 1);
      char c;
      read(down[0], &c, 1); // until the owner is gone
      c = va != BAD && is_buffer((char *)va, 0, 3 * PAGE) && unmap_shared_pages(getpid(), va, 3 * PAGE) == 0 ? 'y'
                                                                                                             : 'n';
      write(up[1], &c, 1);
      exit(0);
    }
    char c;
    exit(read(up[0], &c, 1) == 1 && c == 'm' ? 0 : 1);
  }
  char c = 0;
  CHECK(wait(&status) == pid && status == 0);
  write(down[1], "g", 1);
  CHECK(read(up[0], &c, 1) == 1 && c == 'y');
}

// sbrk takes a mapping that began above an odd size: the next one, unmapped, leaves the size it found.
static void shrink_to_mapping(void) {
  int status = 1, pid = fork();
  if (pid == 0) {
    sbrk(2 * PAGE - own_size() % PAGE - 100);
    map(0, PAGE);
    sbrk(-(int)PAGE);
    uint64 before = own_size();
    CHECK(before % PAGE == 0 && unmap(map(0, PAGE), PAGE) == 0 && own_size() == before);
    exit(failures);
  }
  CHECK(wait(&status) == pid && status == 0);
}

int main(void) {
  parent = getpid();
  CHECK(pipe(up) == 0 && pipe(down) == 0);
  round();
  uint64 frames = free_frames();
  round();
  CHECK(free_frames() == frames);
  owner_first();
  shrink_to_mapping();
  return report();
}
