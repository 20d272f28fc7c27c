// crowd: as /init of an image made for it, in this kernel or in any xv6-riscv tree, it fills the process table with
// processes that sleep, so that tools have as much to read as there can be. Relies on xv6's user.h alone, but for
// CROWD_SHARE: with it the first sixteen also map a page of the first process.
#include "kernel/types.h"
#include "kernel/stat.h"
#include "kernel/fcntl.h"
#include "user/user.h"

#define SHARERS 16
#define PAGE 4096

int main(void) {
  if (open("console", O_RDWR) < 0) {
    mknod("console", 1, 0);
    open("console", O_RDWR);
  }
  dup(0);
  dup(0);

  int ends[2], ready[2], n = 0, pid = 1;
  char byte = 'x', *page = sbrk(PAGE);
  *page = 1;
  if (pipe(ends) < 0 || pipe(ready) < 0)
    printf("crowd: failed: pipe\n");
  while (n < 100 && (pid = fork()) > 0)
    n++;
  if (pid == 0) {
#ifdef CROWD_SHARE
    if (n < SHARERS)
      map_shared_pages(1, getpid(), (uint64)page, PAGE);
#endif
    write(ready[1], &byte, 1);
    read(ends[0], &byte, 1); // nobody ever writes
    return 0;
  }
  for (int i = 0; i < n; i++)
    read(ready[0], &byte, 1);
  printf("crowd: done, %d more\n", n);
  for (;;)
    read(ends[0], &byte, 1);
}
