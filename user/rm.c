// rm file...: removes names of files, and empty directories.
#include "kernel/types.h"
#include "user/user.h"

int main(int argc, char **argv) {
  int failed = 0;

  if (argc < 2) {
    fprintf(2, "usage: rm file...\n");
    return 2;
  }
  while (*++argv)
    if (unlink(*argv) < 0) {
      fprintf(2, "rm: cannot remove %s\n", *argv);
      failed = 1;
    }
  return failed;
}
