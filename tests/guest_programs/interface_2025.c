// A program as those of xv6 2025 and later are written: pause(), sbrklazy(), sync(), %ld, main() returning its status.
// Prints what test_programs.py compares.
#include "kernel/types.h"
#include "kernel/stat.h"
#include "user/user.h"
#include "kernel/fcntl.h"
#include "kernel/syscall.h"
#include "kernel/memlayout.h"
#include "kernel/param.h"
#include "kernel/fs.h"
#include "kernel/vm.h"
#include "kernel/riscv.h"

static void show_numbers(void) {
  long low = -(1L << 40);
  uint64 high = ~0UL;

  printf("%ld %lu %lx\n", low, high, high);
  printf("%lld %llu %llx\n", (long long)low, (unsigned long long)high, (unsigned long long)high);
  printf("%u %d %d\n", 1u << 31, SYS_pause == SYS_sleep, SYS_sync);
  printf("%d %d %d %d\n", SBRK_EAGER, SBRK_LAZY, LOGBLOCKS, USERSTACK);
}

static void show_memory(void) {
  int gigabyte = 1 << 30;
  char *p = sbrklazy(gigabyte);

  printf("lazy %d, zero %d\n", p != SBRK_ERROR, p[gigabyte / 2]);
  p[gigabyte - 1] = 1;
  printf("shrunk %d\n", sbrk(-gigabyte) == p + gigabyte);
  p = sys_sbrk(PGSIZE, SBRK_EAGER);
  printf("eager %d\n", sbrk(0) - p == PGSIZE);
  printf("no room %d\n", sbrk(0x7fffffff) == SBRK_ERROR);
}

int main(void) {
  int before = uptime(), fd = open("interface.tmp", O_CREATE | O_WRONLY);

  show_numbers();
  show_memory();
  printf("pause %d %d\n", pause(-1), pause(2));
  printf("paused %d\n", uptime() - before >= 2);
  write(fd, "x", 1);
  printf("fsync %d, ", fsync(fd));
  sync();
  printf("unlink %d\n", unlink("interface.tmp"));
  return 17;
}
