// cmp file file: says where two files first differ. Status 0: equal, 1: they differ, 2: cannot say.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "user/user.h"

struct stream {
  const char *name;
  int fd;
  int used, filled;
  uchar bytes[2048];
};
static struct stream a, b;

static void start(struct stream *s, const char *name) {
  s->name = name;
  s->fd = open(name, O_RDONLY);
  if (s->fd < 0) {
    fprintf(2, "cmp: cannot open %s\n", name);
    exit(2);
  }
}

// Bytes ready in s, 0 at its end.
static int ready(struct stream *s) {
  if (s->used == s->filled) {
    s->used = 0;
    s->filled = read(s->fd, s->bytes, sizeof(s->bytes));
    if (s->filled < 0) {
      fprintf(2, "cmp: cannot read %s\n", s->name);
      exit(2);
    }
  }
  return s->filled - s->used;
}

int main(int argc, char **argv) {
  uint64 offset = 0;

  if (argc != 3) {
    fprintf(2, "usage: cmp file file\n");
    return 2;
  }
  start(&a, argv[1]);
  start(&b, argv[2]);
  for (;;) {
    int n = ready(&a), m = ready(&b);
    n = n < m ? n : m;
    if (n == 0 && m == a.filled - a.used)
      return 0;
    if (n == 0) {
      printf("%s ends after %lu bytes, %s does not\n", m ? a.name : b.name, offset, m ? b.name : a.name);
      return 1;
    }
    if (memcmp(a.bytes + a.used, b.bytes + b.used, n) != 0)
      break;
    a.used += n, b.used += n, offset += n;
  }
  while (a.bytes[a.used] == b.bytes[b.used])
    a.used++, b.used++, offset++;
  printf("%s %s differ at byte %lu: 0x%x 0x%x\n", a.name, b.name, offset, a.bytes[a.used], b.bytes[b.used]);
  return 1;
}
