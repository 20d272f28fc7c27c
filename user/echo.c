// echo [word...]: prints its arguments with a space between them, in as few writes as its buffer allows.
#include "kernel/types.h"
#include "user/user.h"

static char buf[512];
static int used;

static void put(char c) {
  if (used == sizeof(buf)) {
    write(1, buf, used);
    used = 0;
  }
  buf[used++] = c;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (i > 1)
      put(' ');
    for (const char *s = argv[i]; *s; s++)
      put(*s);
  }
  put('\n');
  return write(1, buf, used) == used ? 0 : 1;
}
