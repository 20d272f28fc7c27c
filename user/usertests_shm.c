// usertests: pages shared between processes (map_shared_pages): what both sides see, where the mapping lies, and how it
// ends. What is refused stands in usertests_shmrule.c.
// A mapping is made from parent to child by the child (take) or from child to parent by the child (give).
#include "user/dice.h"
#include "user/usertests.h"
#include "kernel/fcntl.h"

#define NOWHERE (~0UL)

static uint64 take(uint64 va, uint64 size) {
  uint64 here = map_shared_pages(parent, getpid(), va, size);
  if (here == NOWHERE)
    FAIL("0x%lx, %d bytes: the parent's memory cannot be mapped", va, (int)size);
  return here;
}

// Writes on either side are seen on the other.
static void exchange(uint64 va) {
  for (uint64 page = 0; page < 3; page++)
    ((volatile uchar *)va)[page * PAGE] = 0; // the copy is this side's: the parent keeps its frames
  volatile uchar *here = (volatile uchar *)take(va, 3 * PAGE);
  for (uint64 i = 0; i < 3 * PAGE; i++)
    WANT(here[i], i % 251);
  for (uint64 i = 0; i < 3 * PAGE; i++)
    here[i] = i % 241;
}

static void shm_both_ways(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrklazy(4 * PAGE));
  for (uint64 i = 3 * PAGE; i-- > 0;) // the last page first, so that no frame follows the one of the page before
    own[i] = i % 251;
  with_child(exchange, (uint64)own);
  for (uint64 i = 0; i < 3 * PAGE; i++)
    WANT(own[i], i % 241);
}

// A child hands its memory to its parent, which goes on using it after the child is gone.
static void give_and_go(uint64 fd) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(3 * PAGE));
  fill(own + 100, 5000, 7);
  uint64 there = map_shared_pages(getpid(), parent, (uint64)own + 100, 5000);
  CHECK(there != NOWHERE);
  WANT(write(fd, &there, sizeof(there)), sizeof(there));
}

static void sees_eight(uint64 va) {
  WANT(differs((void *)va, 5000, 8), -1);
}

static void shm_owner_first(void) {
  int fds[2];
  uint64 there, before = (uint64)sbrk(0);
  WANT(pipe(fds), 0);
  with_child(give_and_go, fds[1]);
  WANT(read(fds[0], &there, sizeof(there)), sizeof(there));
  WANT(differs((void *)there, 5000, 7), -1);
  fill((void *)there, 5000, 8);
  must_live(sees_eight, there);
  WANT(unmap_shared_pages(getpid(), there, 5000), 0);
  WANT((uint64)sbrk(0), before);
  must_die(load_from, there);
  close(fds[0]);
  close(fds[1]);
}

// The mapping begins at the page-rounded top, keeps the offset in the first page and takes all pages touched; the size
// grows by just them, and is as before when they go.
static void measure(uint64 va) {
  static const struct {
    int offset, size, pages;
  } cases[] = {{0, 1, 1},    {0, 4096, 1}, {0, 4097, 2},   {1, 4095, 1},       {1, 4096, 2},
               {4095, 1, 1}, {4095, 2, 2}, {0xff0, 32, 2}, {100, 3 * 4096, 4}, {2048, 6144, 2}};
  sbrk(123); // the top need not be at a page border
  for (uint i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    uint64 before = (uint64)sbrk(0);
    uint64 here = take(va + cases[i].offset, cases[i].size);
    WANT(here, PGROUNDUP(before) + cases[i].offset);
    WANT((uint64)sbrk(0), PGROUNDUP(before) + cases[i].pages * PAGE);
    for (int j = 0; j < cases[i].size; j++)
      WANT(*(uchar *)(here + j), (cases[i].offset + j) % 253);
    WANT(unmap_shared_pages(getpid(), here, cases[i].size), 0);
    CHECK((uint64)sbrk(0) == before || (uint64)sbrk(0) == PGROUNDUP(before));
    must_die(load_from, here);
  }
}

static void shm_size(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(6 * PAGE));
  for (uint64 i = 0; i < 5 * PAGE; i++)
    own[i] = i % 253;
  with_child(measure, (uint64)own);
}

// After unmapping the heap goes on as if nothing had been: malloc works, and its memory is the process's own.
static void heap_afterwards(uint64 va) {
  uint64 before = (uint64)sbrk(0);
  uint64 here = take(va, 2 * PAGE);
  WANT(unmap_shared_pages(getpid(), here, 2 * PAGE), 0);
  WANT((uint64)sbrk(0), before);
  uchar *block = malloc(50000);
  CHECK(block != 0);
  fill(block, 50000, 3);
  WANT(differs(block, 50000, 3), -1);
  free(block);
}

static void shm_then_malloc(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(3 * PAGE));
  fill(own, 2 * PAGE, 1);
  with_child(heap_afterwards, (uint64)own);
  WANT(differs(own, 2 * PAGE, 1), -1);
}

// A mapping in the middle goes and leaves a hole: faults there, heap and mappings above it live on, whatever follows.
static void hole_in_the_middle(uint64 va) {
  uint64 low = take(va, 2 * PAGE);
  char *heap = sbrk(3 * PAGE);
  memset(heap, 'h', 3 * PAGE);
  uint64 high = take(va + PAGE, PAGE);
  uint64 top = (uint64)sbrk(0);
  WANT(unmap_shared_pages(getpid(), low, 2 * PAGE), 0);
  WANT((uint64)sbrk(0), top);
  must_die(load_from, low);
  must_die(store_to, low + PAGE);
  must_live(load_from, high);
  int fds[2];
  WANT(pipe(fds), 0);
  FAILS(write(fds[1], (void *)(low + 10), 1));
  close(fds[0]);
  close(fds[1]);
  for (uint64 i = 0; i < 3 * PAGE; i++)
    WANT(heap[i], 'h');
  uint64 again = take(va, PAGE); // at the top, not in the hole
  WANT(again, top);
  int pid = fork(); // with a hole, heap and two mappings
  CHECK(pid >= 0);
  if (pid == 0) {
    WANT(heap[5], 'h');
    WANT(*(uchar *)high, 1);
    CHECK(sbrk(5 * PAGE) != SBRK_ERROR);
    exit(0);
  }
  WANT(finish(pid), 0);
  WANT(unmap_shared_pages(getpid(), again, PAGE), 0);
  WANT(unmap_shared_pages(getpid(), high, PAGE), 0);
  CHECK(sbrk(2 * PAGE) != SBRK_ERROR);
  CHECK(sbrk(-(int)(4 * PAGE)) != SBRK_ERROR); // back below where high was
}

static void shm_hole(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(4 * PAGE));
  memset(own, 1, 3 * PAGE);
  for (int i = 0; i < 3; i++)
    with_child(hole_in_the_middle, (uint64)own);
}

// The break can be moved down through a mapping: its pages go, the owner keeps them.
static void shrink_through(uint64 va) {
  uint64 before = (uint64)sbrk(0);
  uint64 here = take(va, 4 * PAGE);
  sbrk(-2 * (int)PAGE);
  must_die(load_from, here + 2 * PAGE);
  must_live(load_from, here + PAGE);
  CHECK(sbrk(2 * PAGE) != SBRK_ERROR);
  WANT(*(uchar *)(here + 2 * PAGE), 0); // its own memory now, not the shared page
  *(uchar *)(here + 2 * PAGE) = 99;
  FAILS(unmap_shared_pages(getpid(), here, 4 * PAGE)); // half of it is private
  WANT(unmap_shared_pages(getpid(), here, 2 * PAGE), 0);
  sbrk(-(int)((uint64)sbrk(0) - before));
  WANT((uint64)sbrk(0), before);
}

static void shm_shrink(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(5 * PAGE));
  fill(own, 4 * PAGE, 1);
  with_child(shrink_through, (uint64)own);
  WANT(differs(own, 4 * PAGE, 1), -1);
}

// The owner gives its pages back while another still uses them, and gets other frames for new ones.
static void hold_while_owner_shrinks(uint64 both) {
  uint64 va = both & ~0xfffUL;
  int to_parent = both & 0xf, from_parent = both >> 4 & 0xff;
  char byte = 'm';
  uchar *here = (uchar *)take(va, 2 * PAGE);
  write(to_parent, &byte, 1);
  read(from_parent, &byte, 1);
  WANT(differs(here, 2 * PAGE, 5), -1);
  fill(here, 2 * PAGE, 6);
}

static void shm_owner_shrinks(void) {
  int up[2], down[2];
  char byte;
  uchar *own = (uchar *)PGROUNDUP(sbrk(3 * PAGE));
  sbrk((int)((uint64)own + 2 * PAGE - (uint64)sbrk(0)));
  fill(own, 2 * PAGE, 5);
  WANT(pipe(up), 0);
  WANT(pipe(down), 0);
  parent = getpid();
  int pid = start(hold_while_owner_shrinks, (uint64)own | down[0] << 4 | up[1]);
  WANT(read(up[0], &byte, 1), 1);
  sbrk(-2 * (int)PAGE);
  CHECK(sbrk(2 * PAGE) == (char *)own);
  for (uint64 i = 0; i < 2 * PAGE; i++)
    WANT(own[i], 0);
  WANT(write(down[1], &byte, 1), 1);
  WANT(finish(pid), 0);
  for (uint64 i = 0; i < 2 * PAGE; i++)
    WANT(own[i], 0);
  for (int i = 0; i < 2; i++) {
    close(up[i]);
    close(down[i]);
  }
}

// Neither side sees a copy: pages to be copied at the next write are copied first, promised pages are filled first.
static void see_and_set(uint64 va) {
  uchar *here = (uchar *)take(va, 2 * PAGE);
  WANT(here[0], 'p');
  WANT(here[PAGE + 1], 0);
  here[0] = 'c';
  here[PAGE + 1] = 'd';
}

static void shm_cow_source(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(3 * PAGE));
  memset(own, 0, 2 * PAGE);
  own[0] = 'p';
  with_child(see_and_set, (uint64)own); // fork has just made all pages copy-on-write
  WANT(own[0], 'c');
  WANT(own[PAGE + 1], 'd');
}

static void shm_lazy_source(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrklazy(3 * PAGE));
  own[0] = 'p'; // the second page stays untouched
  with_child(see_and_set, (uint64)own);
  WANT(own[0], 'c');
  WANT(own[PAGE + 1], 'd');
}

// A holder's child shares the pages too: one frame for all three, and none lost when they go in any order.
static void three_generations(uint64 va) {
  volatile uchar *here = (volatile uchar *)take(va, PAGE);
  for (int order = 0; order < 2; order++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      here[order] = 'g';
      if (order)
        WANT(unmap_shared_pages(getpid(), (uint64)here, PAGE), 0);
      exit(0);
    }
    if (order == 0)
      WANT(finish(pid), 0);
    else
      WANT(wait(0), pid);
    WANT(here[order], 'g');
  }
}

static void shm_fork_holder(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(2 * PAGE));
  memset(own, 0, PAGE);
  with_child(three_generations, (uint64)own);
  WANT(own[0], 'g');
  WANT(own[1], 'g');
}

// Grandparent and grandchild may share; what is passed on twice is still one frame.
static uint64 first_va;
static int grandparent;

static void grandchild(uint64 middle_va) {
  volatile uchar *far = (volatile uchar *)map_shared_pages(grandparent, getpid(), first_va, 10);
  CHECK((uint64)far != NOWHERE);
  volatile uchar *near = (volatile uchar *)take(middle_va, 10);
  far[3] = 'x';
  WANT(near[3], 'x');
}

static void middle(uint64 va) {
  uint64 here = take(va, 10);
  with_child(grandchild, here);
  WANT(*(uchar *)(here + 3), 'x');
}

static void shm_ancestors(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(2 * PAGE));
  first_va = (uint64)own;
  grandparent = getpid();
  with_child(middle, (uint64)own);
  WANT(own[3], 'x');
}

// exec and a kill drop the mappings.
static void map_and_exec(uint64 va) {
  static char *argv[] = {"echo", 0};
  take(va, 3 * PAGE);
  close(1);
  WANT(open("out", O_CREATE | O_RDWR), 1);
  exec("/echo", argv);
  exit(1);
}

static void map_and_die(uint64 va) {
  take(va, 3 * PAGE);
  kill(getpid());
  sleep(100);
}

static void shm_dropped(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(4 * PAGE));
  fill(own, 3 * PAGE, 2);
  for (int i = 0; i < 5; i++) {
    with_child(map_and_exec, (uint64)own);
    must_die(map_and_die, (uint64)own);
  }
  WANT(unlink("out"), 0);
  WANT(differs(own, 3 * PAGE, 2), -1);
}

// Pipes and files work on shared pages as on others, and the kernel's writes reach both sides.
static void read_into_shared(uint64 va) {
  int fds[2];
  uchar *here = (uchar *)take(va + 4000, 200);
  WANT(pipe(fds), 0);
  fill(work, 200, 9);
  WANT(write(fds[1], work, 200), 200);
  WANT(read(fds[0], here, 200), 200);
}

static void shm_kernel_writes(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(3 * PAGE));
  memset(own, 0, 2 * PAGE);
  with_child(read_into_shared, (uint64)own);
  WANT(differs(own + 4000, 200, 9), -1);
}

// Large mappings, many times.
static void map_large(uint64 va) {
  for (int i = 0; i < 20; i++) {
    uint64 here = take(va, 512 * PAGE);
    WANT(*(uint64 *)(here + (uint64)i * PAGE), (uint64)i);
    WANT(unmap_shared_pages(getpid(), here, 512 * PAGE), 0);
  }
}

static void shm_large(void) {
  uint64 *own = (uint64 *)PGROUNDUP(sbrk(513 * PAGE));
  for (uint64 i = 0; i < 512; i++)
    own[i * PAGE / 8] = i;
  with_child(map_large, (uint64)own);
}

// Several children map, unmap, fork, exec and die at the same pages at once while the owner forks and shrinks.
static void storm(uint64 va) {
  dice_state = getpid();
  uint64 here[8] = {0};
  for (int i = 0; i < 100; i++) {
    int slot = dice(8);
    switch (dice(8)) {
    case 0:
      if (fork() == 0) {
        if (dice(2))
          kill(getpid());
        exit(0);
      }
      break;
    case 1:
      sbrk(PAGE);
      break;
    default:
      if (here[slot]) {
        WANT(unmap_shared_pages(getpid(), here[slot], 2 * PAGE), 0);
        here[slot] = 0;
      } else if ((here[slot] = map_shared_pages(parent, getpid(), va, 2 * PAGE)) == NOWHERE) {
        here[slot] = 0;
      }
    }
  }
  while (wait(0) >= 0)
    ;
}

static void shm_storm(void) {
  uchar *own = (uchar *)PGROUNDUP(sbrk(3 * PAGE));
  parent = getpid();
  for (int i = 0; i < 5; i++)
    start(storm, (uint64)own);
  for (int i = 0; i < 200; i++) {
    own[i % 2 * PAGE] = i;
    sbrk(10 * PAGE);
    sbrk(-10 * (int)PAGE);
  }
  finish_all(5);
}

const struct test shm_tests[] = {
    {"shm_both_ways", shm_both_ways, 0},
    {"shm_owner_first", shm_owner_first, 0},
    {"shm_size", shm_size, 0},
    {"shm_then_malloc", shm_then_malloc, 0},
    {"shm_hole", shm_hole, 0},
    {"shm_shrink", shm_shrink, 0},
    {"shm_owner_shrinks", shm_owner_shrinks, 0},
    {"shm_cow_source", shm_cow_source, 0},
    {"shm_lazy_source", shm_lazy_source, 0},
    {"shm_fork_holder", shm_fork_holder, 0},
    {"shm_ancestors", shm_ancestors, 0},
    {"shm_dropped", shm_dropped, 0},
    {"shm_kernel_writes", shm_kernel_writes, 0},
    {"shm_large", shm_large, 0},
    {"shm_storm", shm_storm, 1},
    {0, 0, 0},
};
