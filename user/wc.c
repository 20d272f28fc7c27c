// wc [file...]: counts lines, words and bytes of files, or of standard input.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "user/user.h"

static char buf[4096];

// Prints the counts of what fd gives. 0, or 1 with a message.
static int count(int fd, const char *name) {
  uint64 lines = 0, words = 0, bytes = 0;
  int n, in_word = 0;

  while ((n = read(fd, buf, sizeof(buf))) > 0) {
    bytes += n;
    for (const char *p = buf; p < buf + n; p++) {
      int blank = *p == ' ' || (*p >= '\t' && *p <= '\r');
      lines += *p == '\n';
      words += !blank && !in_word;
      in_word = !blank;
    }
  }
  if (n < 0) {
    fprintf(2, "wc: cannot read %s\n", name);
    return 1;
  }
  printf("%lu %lu %lu %s\n", lines, words, bytes, name);
  return 0;
}

int main(int argc, char **argv) {
  int failed = argc < 2 ? count(0, "") : 0;

  for (int i = 1; i < argc; i++) {
    int fd = open(argv[i], O_RDONLY);
    if (fd < 0) {
      fprintf(2, "wc: cannot open %s\n", argv[i]);
      failed = 1;
      continue;
    }
    failed |= count(fd, argv[i]);
    close(fd);
  }
  return failed;
}
