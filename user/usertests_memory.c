// usertests: the break, the stack, and what the page protections promise.
// Relies on nothing but sbrk, fork and wait; lazy growth and copy-on-write have files of their own.
#include "user/dice.h"
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/vm.h"

#define ONE_PAGE ((int)PAGE)

// The break moves by exactly what is asked, new bytes are zero, old ones stay, whatever the alignment.
static void sbrk_grow(void) {
  static const int steps[] = {1, 7, 4087, 1, 4096, 4097, 100, 12288, 3, 65536, 0};
  char *base = sbrk(0);
  char *end = base;
  for (int i = 0; steps[i]; i++) {
    WANT(sbrk(steps[i]), end);
    for (int j = 0; j < steps[i]; j++)
      if (end[j] != 0)
        FAIL("new byte %d of step %d is not zero", j, i);
    memset(end, i + 1, steps[i]);
    end += steps[i];
    WANT(sbrk(0), end);
  }
  char *b = base;
  for (int i = 0; steps[i]; i++)
    for (int j = 0; j < steps[i]; j++, b++)
      if (*b != i + 1)
        FAIL("byte %d of step %d was lost", j, i);
  WANT(sbrk(-(int)(end - base)), end);
  WANT(sbrk(0), base);
}

// Pages given back are gone; growing again brings zeros, not the old contents.
static void sbrk_shrink(void) {
  char *base = sbrk(0);
  base += (PAGE - (uint64)base % PAGE) % PAGE;
  sbrk((int)(base - sbrk(0)));
  CHECK(sbrk(8 * ONE_PAGE) == base);
  memset(base, 0xa5, 8 * PAGE);
  CHECK(sbrk(-6 * ONE_PAGE) == base + 8 * PAGE);
  must_live(load_from, (uint64)base + 2 * PAGE - 1);
  must_die(load_from, (uint64)base + 2 * PAGE);
  must_die(store_to, (uint64)base + 7 * PAGE);
  CHECK(sbrk(6 * ONE_PAGE) == base + 2 * PAGE);
  for (uint64 i = 2 * PAGE; i < 8 * PAGE; i++)
    if (base[i] != 0)
      FAIL("old contents came back at %d", (int)i);
  CHECK(base[0] == (char)0xa5 && base[2 * PAGE - 1] == (char)0xa5);
}

// More cannot be given back than there is: the break stays. All of it can, by a process that then has nothing left.
static void give_all_back(uint64 unused) {
  (void)unused;
  sbrk(-(int)(uint64)sbrk(0));
  exit(3); // the text is gone: this cannot be reached
}

static void sbrk_underflow(void) {
  char *end = sbrk(0);
  sbrk(-(int)(uint64)end - 1);
  CHECK(sbrk(0) == end);
  sbrk((int)0x80000000);
  CHECK(sbrk(0) == end);
  must_die(give_all_back, 0);
}

// A request beyond the machine is refused whole.
static void sbrk_huge(void) {
  char *end = sbrk(0);
  uint64 before = free_frames();
  CHECK(sbrk(0x7fffffff) == SBRK_ERROR);
  CHECK(sbrk(0x7ffff000) == SBRK_ERROR);
  CHECK(sbrk(0) == end);
  CHECK(before - free_frames() < 80); // pages of the page table may stay until exit
  CHECK(sbrk(ONE_PAGE) == end);
  CHECK(sbrk(-ONE_PAGE) == end + PAGE);
}

// Memory just above the break is not there, but the rest of the break's own page may be.
static void beyond_break(void) {
  uint64 end = (uint64)sbrk(0);
  uint64 top = (end + PAGE - 1) / PAGE * PAGE;
  must_die(load_from, top);
  must_die(store_to, top);
  must_die(jump_to, top);
  must_die(load_from, top + 1024 * 1024 * 1024UL);
  must_die(store_to, MAXVA - PAGE);
  must_die(load_from, MAXVA - 2 * PAGE);
}

static void kernel_half(void) {
  for (int i = 0; forbidden[i]; i++) {
    must_die(load_from, forbidden[i]);
    must_die(store_to, forbidden[i]);
    must_die(jump_to, forbidden[i]);
  }
  // Devices and RAM at their physical addresses.
  for (uint64 a = 0x2000000; a < 0x90000000; a += 0x7ff0000)
    must_die(load_from, a);
}

static uint64 stack_page(void) {
  uint64 here = (uint64)__builtin_frame_address(0);
  return here / PAGE * PAGE;
}

// Below the stack is a page that belongs to nobody.
static void stack_guard(void) {
  uint64 low = stack_page();
  must_live(load_from, low);
  must_die(load_from, low - USERSTACK * PAGE);
  must_die(store_to, low - USERSTACK * PAGE);
  must_die(store_to, low - 8);
}

static int deeper(int n) {
  volatile char frame[256];
  frame[n & 0xff] = n;
  return n == 0 ? 0 : deeper(n - 1) + frame[n & 0xff];
}

static void recurse(uint64 depth) {
  deeper(depth);
}

static void stack_overflow(void) {
  must_live(recurse, 5);
  must_die(recurse, 1000000);
}

// Text cannot be written, neither by the program nor by the kernel on its behalf.
static void text_readonly(void) {
  uint64 text = (uint64)text_readonly;
  uchar before[16];
  int fds[2];
  must_live(load_from, text);
  must_die(store_to, text);
  must_die(store_to, 0);
  memmove(before, (void *)text, sizeof(before));
  WANT(pipe(fds), 0);
  WANT(write(fds[1], "0123456789abcdef", 16), 16);
  FAILS(read(fds[0], (void *)text, 16));
  WANT(memcmp(before, (void *)text, sizeof(before)), 0);
  WANT(read(fds[0], before, 16), 16);
  WANT(memcmp(before, "0123456789abcdef", 16), 0);
  close(fds[0]);
  close(fds[1]);
}

// A return instruction as data: where pages are executable, jumping there would come back.
static void data_noexec(void) {
  static uint code[4] = {0x00008067, 0x00008067, 0x00008067, 0x00008067};
  uint local[4] = {0x00008067, 0x00008067, 0x00008067, 0x00008067};
  uint *heap = (uint *)(((uint64)sbrk(2 * ONE_PAGE) + 7) & ~7UL);
  memmove(heap, code, sizeof(code));
  __asm__ volatile("fence.i" : : "r"(local), "r"(heap) : "memory");
  must_die(jump_to, (uint64)code);
  must_die(jump_to, (uint64)local);
  must_die(jump_to, (uint64)heap);
}

static void privileged(uint64 which) {
  switch (which) {
  case 0:
    __asm__ volatile(".word 0"); // an illegal instruction by definition
    break;
  case 1:
    __asm__ volatile("ebreak");
    break;
  case 2:
    __asm__ volatile("csrr t0, sstatus" : : : "t0");
    break;
  case 3:
    __asm__ volatile("csrw satp, zero");
    break;
  case 4:
    __asm__ volatile("sret");
    break;
  case 5:
    __asm__ volatile("sfence.vma");
    break;
  case 6:
    __asm__ volatile("csrw stvec, zero");
    break;
  case 7:
    __asm__ volatile("mret");
    break;
  }
}

static void illegal_instruction(void) {
  for (int i = 0; i < 8; i++)
    must_die(privileged, i);
}

// Takes all memory a page at a time, and every page is usable. All of it is free again afterwards.
static void take_everything(uint64 touch) {
  uint64 pages = 0;
  char *page;
  while ((page = sbrk(ONE_PAGE)) != SBRK_ERROR) {
    if (touch)
      *(uint64 *)(((uint64)page + 7) & ~7UL) = pages;
    pages++;
  }
  CHECK(pages > 1000);
  CHECK(sbrk(-ONE_PAGE) != SBRK_ERROR);
  CHECK(sbrk(ONE_PAGE) != SBRK_ERROR);
}

static void memory_all(void) {
  uint64 before = free_frames();
  for (int i = 0; i < 2; i++)
    must_live(take_everything, i);
  WANT(free_frames(), before);
}

// With no frame left every call that needs one says so, and none takes the process or the kernel down.
static void starved(uint64 unused) {
  (void)unused;
  int fds[2];
  char *argv[] = {"echo", 0};
  for (int step = 64 * ONE_PAGE; step >= ONE_PAGE; step /= 4)
    while (sbrk(step) != SBRK_ERROR)
      ;
  for (int i = 0; i < 10; i++) {
    int pid = fork();
    if (pid == 0)
      exit(0);
    if (pid > 0)
      wait(0);
    if (pipe(fds) == 0) {
      close(fds[0]);
      close(fds[1]);
    }
  }
  int fd = open("starved", O_CREATE | O_RDWR);
  if (fd >= 0) {
    write(fd, "x", 1);
    close(fd);
    unlink("starved");
  }
  close(1); // echo's output is of no interest
  exec("/echo", argv);
}

static void memory_starved(void) {
  must_live(starved, 0);
}

// Several processes compete for the last frame.
static void compete(uint64 unused) {
  (void)unused;
  for (int round = 0; round < 3; round++) {
    uint64 taken = 0;
    while (sbrk(16 * ONE_PAGE) != SBRK_ERROR)
      taken += 16 * PAGE;
    while (taken) {
      uint64 part = taken > (1UL << 30) ? 1UL << 30 : taken;
      sbrk(-(int)part);
      taken -= part;
    }
  }
}

static void memory_competed(void) {
  for (int i = 0; i < 4; i++)
    start(compete, 0);
  finish_all(4);
}

// malloc and free in many sizes, contents intact throughout.
static void heap_churn(void) {
  static uchar *block[64];
  static uint size[64];
  dice_state = 12345;
  for (int round = 0; round < 4000; round++) {
    int i = dice(64);
    if (block[i]) {
      long at = differs(block[i], size[i], i);
      if (at >= 0)
        FAIL("block %d damaged at byte %d in round %d", i, (int)at, round);
      free(block[i]);
      block[i] = 0;
    } else {
      size[i] = dice(round % 50 ? 300 : 20000) + 1;
      block[i] = malloc(size[i]);
      CHECK(block[i] != 0);
      fill(block[i], size[i], i);
    }
  }
}

// The uninitialised data of a program is zero at every start, whoever had the frames before.
static void bss_zero(void) {
  static char untouched[3 * PAGE];
  for (uint64 i = 0; i < sizeof(untouched); i++)
    if (untouched[i])
      FAIL("byte %d of uninitialised data is %d", (int)i, untouched[i]);
}

const struct test memory_tests[] = {
    {"sbrk_grow", sbrk_grow, 0},
    {"sbrk_shrink", sbrk_shrink, 0},
    {"sbrk_underflow", sbrk_underflow, 0},
    {"sbrk_huge", sbrk_huge, 0},
    {"beyond_break", beyond_break, 0},
    {"kernel_half", kernel_half, 0},
    {"stack_guard", stack_guard, 0},
    {"stack_overflow", stack_overflow, 0},
    {"text_readonly", text_readonly, 0},
    {"data_noexec", data_noexec, 0},
    {"illegal_instruction", illegal_instruction, 0},
    {"bss_zero", bss_zero, 0},
    {"heap_churn", heap_churn, 0},
    {"memory_all", memory_all, 1},
    {"memory_starved", memory_starved, 1},
    {"memory_competed", memory_competed, 1},
    {0, 0, 0},
};
