// cat [file...]: copies files, or standard input, to standard output.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "user/user.h"

static char buf[4096];

// 0, or 1 with a message.
static int copy(int fd, const char *name) {
  int n;

  while ((n = read(fd, buf, sizeof(buf))) > 0)
    if (write(1, buf, n) != n) {
      fprintf(2, "cat: cannot write %s\n", name);
      exit(1);
    }
  if (n < 0)
    fprintf(2, "cat: cannot read %s\n", name);
  return n < 0;
}

int main(int argc, char **argv) {
  int failed = argc < 2 ? copy(0, "standard input") : 0;

  for (int i = 1; i < argc; i++) {
    int fd = open(argv[i], O_RDONLY);
    if (fd < 0) {
      fprintf(2, "cat: cannot open %s\n", argv[i]);
      failed = 1;
      continue;
    }
    failed |= copy(fd, argv[i]);
    close(fd);
  }
  return failed;
}
