// free [-q]: the machine's memory in frames and bytes; with -q only the number of free frames.
#include "kernel/types.h"
#include "kernel/info.h"
#include "user/user.h"

static void row(const char *name, uint64 frames, uint64 page) {
  printf("%-8s %8lu %12lu\n", name, frames, frames * page);
}

int main(int argc, char **argv) {
  struct meminfo m;
  int quiet = argc == 2 && strcmp(argv[1], "-q") == 0;

  if (argc > 1 && !quiet) {
    fprintf(2, "usage: free [-q]\n");
    return 2;
  }
  if (meminfo(&m) < 0) {
    fprintf(2, "free: the kernel does not say\n");
    return 1;
  }
  if (quiet) {
    printf("%lu\n", m.free);
    return 0;
  }
  printf("%-8s %8s %12s\n", "", "frames", "bytes");
  row("total", m.total, m.page);
  row("used", m.total - m.free, m.page);
  row("free", m.free, m.page);
  row("shared", m.shared, m.page);
  return 0;
}
