// matrix TICKS [SEED]: for so long, eight workers and their children map, unmap, fork, exit and kill each other in
// every combination, on memory that all of them share with the parent. Prints how many operations that were; the frames
// are counted by whoever ran it.
#include "kernel/types.h"
#include "kernel/riscv.h"
#include "user/dice.h"
#include "user/user.h"

#define WORKERS 8
#define PAGES 8
#define LEAST 500 // operations, however slow the host is

// On a page that every worker shares with the parent.
struct board {
  int pid[WORKERS];  // of each worker, 0 while there is none
  uint64 operations; // done by all; atomic
};

static volatile struct board *board;
static char area[PAGES * PGSIZE] __attribute__((aligned(4096)));
static int parent;

// A page or several of a relative into the caller, used, and given back or left to exit.
static void borrow(int from) {
  uint64 size = (1 + dice(PAGES - 1)) * PGSIZE - dice(PGSIZE);
  uint64 va = map_shared_pages(from, getpid(), (uint64)area, size);
  if (va == ~0UL)
    return;
  *(volatile char *)va = 1;
  if (dice(4))
    unmap_shared_pages(getpid(), va, size);
}

// The caller's pages into a relative, and out of it again.
static void lend(int to) {
  uint64 size = (1 + dice(PAGES)) * PGSIZE;
  uint64 va = map_shared_pages(getpid(), to, (uint64)area, size);
  if (va != ~0UL)
    unmap_shared_pages(to, va, size);
}

static void with_child(void) {
  int me = getpid(), pid = fork();
  if (pid < 0)
    return;
  if (pid == 0) {
    for (uint n = dice(6); n > 0; n--) {
      borrow(dice(2) ? me : parent);
      area[dice(sizeof(area))] = n;
      if (dice(3) == 0)
        lend(me);
    }
    exit(0);
  }
  for (uint n = dice(4); n > 0; n--)
    dice(2) ? borrow(pid) : lend(pid);
  if (dice(3) == 0)
    kill(pid);
  wait(0);
}

static void work(void) {
  for (;;) {
    switch (dice(8)) {
    case 0:
    case 1:
      borrow(parent);
      break;
    case 2:
      lend(parent);
      break;
    case 3:
    case 4:
      with_child();
      break;
    case 5:
      if (sbrk(PGSIZE) != SBRK_ERROR && dice(4)) // never below what it had: the board lies there
        sbrk(-(int)PGSIZE);
      break;
    case 6:
      area[dice(sizeof(area))]++;
      break;
    default:
      if (dice(8) == 0 && board->pid[dice(WORKERS)] > 0)
        kill(board->pid[dice(WORKERS)]);
      if (dice(16) == 0)
        exit(0);
    }
    __atomic_fetch_add(&board->operations, 1, __ATOMIC_RELAXED);
  }
}

// A worker sees the board by mapping it: fork would give it a copy.
static int start(int slot) {
  uint64 seed = dice_any();
  int pid = fork();
  if (pid != 0)
    return pid < 0 ? 0 : pid;
  uint64 va = map_shared_pages(parent, getpid(), (uint64)board, sizeof(*board));
  if (va == ~0UL)
    exit(1);
  board = (struct board *)va;
  dice_state = seed + slot;
  work();
  return 0;
}

int main(int argc, char *argv[]) {
  if (argc < 2) {
    fprintf(2, "usage: matrix TICKS [SEED]\n");
    return 2;
  }
  int end = uptime() + atoi(argv[1]), generations = 0;
  dice_state = argc > 2 ? atoi(argv[2]) : 1;
  parent = getpid();
  static char page[PGSIZE] __attribute__((aligned(4096)));
  board = (struct board *)page;
  while (uptime() < end || __atomic_load_n(&board->operations, __ATOMIC_RELAXED) < LEAST) {
    for (int i = 0; i < WORKERS; i++)
      if (board->pid[i] == 0)
        board->pid[i] = start(i);
    int pid = wait(0);
    for (int i = 0; i < WORKERS; i++)
      if (board->pid[i] == pid)
        board->pid[i] = 0;
    generations++;
  }
  for (int i = 0; i < WORKERS; i++)
    if (board->pid[i] > 0)
      kill(board->pid[i]);
  while (wait(0) > 0)
    ;
  printf("matrix: %lu operations, %d workers: OK\n", board->operations, generations);
  return 0;
}
