// ls [path...]: a line for each file: name, type (1 directory, 2 file, 3 device), inode number, bytes.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "kernel/param.h"
#include "kernel/stat.h"
#include "user/user.h"

static struct dirent entries[64];
static char path[MAXPATH + DIRSIZ + 2];

static int complain(const char *what, const char *name) {
  fprintf(2, "ls: cannot %s %s\n", what, name);
  return 1;
}

static void show(const char *name, const struct stat *st) {
  printf("%-14s %d %u %lu\n", name, st->type, st->ino, st->size);
}

// Shows the files of the directory open as fd. 0, or 1 with a message.
static int list_directory(int fd, const char *directory) {
  struct stat st;
  int n, failed = 0;

  if (strlen(directory) > MAXPATH)
    return complain("list (the name is too long)", directory);
  strcpy(path, directory);
  char *name = path + strlen(path);
  *name++ = '/';
  while ((n = read(fd, entries, sizeof(entries))) > 0)
    for (struct dirent *e = entries; (char *)(e + 1) <= (char *)entries + n; e++) {
      if (e->inum == 0)
        continue;
      memcpy(name, e->name, DIRSIZ);
      name[DIRSIZ] = 0;
      if (stat(path, &st) < 0)
        failed = complain("read", path);
      else
        show(name, &st);
    }
  return n < 0 ? complain("read", directory) : failed;
}

static int list(const char *name) {
  struct stat st;
  int fd = open(name, O_RDONLY), failed = 0;

  if (fd < 0)
    return complain("open", name);
  if (fstat(fd, &st) < 0)
    failed = complain("read", name);
  else if (st.type == T_DIR)
    failed = list_directory(fd, name);
  else
    show(name, &st);
  close(fd);
  return failed;
}

int main(int argc, char **argv) {
  int failed = argc < 2 ? list(".") : 0;

  for (int i = 1; i < argc; i++)
    failed |= list(argv[i]);
  return failed;
}
