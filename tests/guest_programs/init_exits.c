// Run as /init: takes its own file away and exits. The kernel must go on trying until a child has put it back.
#include "kernel/fcntl.h"
#include "kernel/file.h"
#include "kernel/stat.h"
#include "tests/guest_programs/check.h"

#define TICKS 15 // the kernel has tried by then

static void first_life(void) {
  CHECK(mkdir("/again") == 0 && link("/init", "/kept") == 0 && unlink("/init") == 0);
  if (fork() == 0) {
    sleep(TICKS);
    link("/kept", "/init");
    exit(0);
  }
  exit(3);
}

int main(void) {
  mknod("console", CONSOLE, 0);
  open("console", O_RDWR);
  dup(0);
  dup(0);
  if (open("/again", O_RDONLY) < 0)
    first_life();
  close(3);
  exec("/sh", (char *[]){"sh", 0});
  return 1;
}
