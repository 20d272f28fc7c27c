// mkdir directory...: makes directories.
#include "kernel/types.h"
#include "user/user.h"

int main(int argc, char **argv) {
  int failed = 0;

  if (argc < 2) {
    fprintf(2, "usage: mkdir directory...\n");
    return 2;
  }
  while (*++argv)
    if (mkdir(*argv) < 0) {
      fprintf(2, "mkdir: cannot make %s\n", *argv);
      failed = 1;
    }
  return failed;
}
