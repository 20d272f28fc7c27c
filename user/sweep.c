// Empties a directory tree. Relies on unlink() removing empty directories.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "kernel/stat.h"
#include "user/sweep.h"
#include "user/user.h"

#define DEEPEST 32 // directories below this are left, since each one needs a stack frame here

static int empty(int depth) {
  struct dirent entry;
  struct stat st;
  int removed = 0, fd = open(".", O_RDONLY);

  while (fd >= 0 && read(fd, &entry, sizeof(entry)) == sizeof(entry)) {
    char name[DIRSIZ + 1] = {0};
    memmove(name, entry.name, DIRSIZ);
    if (entry.inum == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
      continue;
    if (unlink(name) < 0 && depth < DEEPEST && stat(name, &st) == 0 && st.type == T_DIR && chdir(name) == 0) {
      close(fd); // a deep tree must not run out of descriptors
      removed += empty(depth + 1);
      chdir("..");
      fd = open(".", O_RDONLY);
      if (unlink(name) < 0)
        break;
    }
    removed++;
  }
  close(fd);
  return removed;
}

int sweep(void) {
  return empty(0);
}
