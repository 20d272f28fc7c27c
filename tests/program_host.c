// A program of user/ on the host, for test_models.py: PROGRAM names its source, a copy without its #include lines; the
// calls it makes are mapped onto the host's. Built with sanitizers.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned char uchar;
typedef unsigned int uint;
typedef unsigned long uint64;

#include "kernel/param.h"
#define T_DIR 1
#define T_FILE 2
#define T_DEVICE 3
#define O_CREATE O_CREAT

struct xv6_stat {
  int type;
};

static int xv6_fstat(int fd, struct xv6_stat *st) {
  struct stat host;
  if (fstat(fd, &host) < 0)
    return -1;
  st->type = S_ISREG(host.st_mode) ? T_FILE : S_ISDIR(host.st_mode) ? T_DIR : S_ISCHR(host.st_mode) ? T_DEVICE : 0;
  return 0;
}

static int xv6_open(const char *path, int flags) {
  return open(path, flags, 0666);
}

static int __attribute__((unused)) xv6_stat(const char *path, struct xv6_stat *st) {
  int fd = xv6_open(path, O_RDONLY);
  int result = fd < 0 ? -1 : xv6_fstat(fd, st);
  close(fd);
  return result;
}

static int __attribute__((unused)) xv6_wait(int *status) {
  int host, pid = wait(&host);
  *status = WIFEXITED(host) ? WEXITSTATUS(host) : -1;
  return pid;
}

#define exec execvp
#define open xv6_open
#define stat xv6_stat
#define fstat xv6_fstat
#define wait xv6_wait
#define fprintf dprintf // a descriptor comes first
#include PROGRAM
