// hog ticks [pages]: takes all memory but so many pages, and keeps it for that long.
// hog lazy: asks for 1 GiB lazily, and touches it until the kernel has no more.
#include "kernel/types.h"
#include "kernel/riscv.h"
#include "user/user.h"

int main(int argc, char **argv) {
  int ticks = argc > 1 ? atoi(argv[1]) : 0, left = argc > 2 ? atoi(argv[2]) : 0;
  uint64 pages = 0;

  if (argc > 1 && strcmp(argv[1], "lazy") == 0)
    for (char *p = sbrklazy(1 << 30);; p += PGSIZE)
      *p = 1;
  for (int n = 1024; n > 0; n /= 2)
    while (sbrk(n * PGSIZE) != SBRK_ERROR)
      pages += n;
  sbrk(-left * PGSIZE);
  printf("hog has %lu pages\n", pages - left);
  sleep(ticks);
  return 0;
}
