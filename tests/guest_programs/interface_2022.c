// A program as those of xv6 2022 are written: its headers in their order, sleep(), %l, exit() at the end of main().
// Prints what test_programs.py compares.
#include "kernel/param.h"
#include "kernel/types.h"
#include "kernel/stat.h"
#include "user/user.h"
#include "kernel/fs.h"
#include "kernel/fcntl.h"
#include "kernel/syscall.h"
#include "kernel/memlayout.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"
#include "kernel/sleeplock.h"
#include "kernel/file.h"

struct pair {
  char name[DIRSIZ + 1];
  uint64 value;
};

int data = 42;
char bss[3 * PGSIZE];

static void show_numbers(void) {
  int n = -7;

  printf("%d %x %p %s %c %%\n", n, 0xbeef, &data, "text", 'c');
  printf("%l and %l\n", (uint64)-1, (uint64)BSIZE);
  fprintf(1, "%d %d %d %d\n", SYS_fork, SYS_sleep, SYS_close, NPROC);
}

static void show_memory(void) {
  char *old = sbrk(0), *p = sbrk(2 * PGSIZE);

  p[2 * PGSIZE - 1] = 1;
  printf("grown %d: %d\n", p == old, (int)(sbrk(0) - p));
  sbrk(-PGSIZE);
  printf("shrunk: %d\n", (int)(sbrk(0) - p));
  printf("not shrunk below zero: %d\n", sbrk(-(int)(uint64)sbrk(0) - 1) == sbrk(0));
  printf("no room: %d\n", sbrk(0x7fffffff) == (char *)0xffffffffffffffffL);
  for (uint i = 0; i < sizeof(bss); i++)
    if (bss[i] != 0)
      printf("bss is not zero\n");
  printf("top of memory %p, page %d\n", MAXVA, PGSIZE);
}

static void show_files(void) {
  struct stat st;
  struct dirent de;
  int fd = open("interface.tmp", O_CREATE | O_RDWR | O_TRUNC), n = 0;

  if (write(fd, "hello", 5) != 5 || fstat(fd, &st) < 0)
    printf("write or fstat failed\n");
  close(fd);
  printf("type %d links %d size %d\n", st.type == T_FILE, st.nlink, (int)st.size);
  fd = open(".", O_RDONLY);
  while (read(fd, &de, sizeof(de)) == sizeof(de))
    n += de.inum != 0 && strcmp(de.name, "interface.tmp") == 0;
  close(fd);
  printf("entries %d, unlink %d, again %d\n", n, unlink("interface.tmp"), unlink("interface.tmp"));
  printf("console: major %d, type %d\n", CONSOLE, stat("console", &st) == 0 && st.type == T_DEVICE);
}

static void show_processes(void) {
  int fds[2], status, before = uptime();
  char buf[8];

  pipe(fds);
  int pid = fork();
  if (pid == 0) {
    write(fds[1], "child", 6);
    exit(3);
  }
  printf("pipe %d", read(fds[0], buf, sizeof(buf)));
  printf(" %s, waited %d, status", buf, wait(&status) == pid);
  printf(" %d\n", status);
  pid = fork();
  if (pid == 0)
    for (;;)
      sleep(1000);
  kill(pid);
  wait(&status);
  printf("killed %d\n", status);
  sleep(2);
  printf("slept %d\n", uptime() - before >= 2);
}

int main(int argc, char *argv[]) {
  struct pair *p = malloc(sizeof(*p));

  memset(p, 0, sizeof(*p));
  strcpy(p->name, argv[argc - 1]);
  printf("%s %d %d\n", p->name, strlen(p->name), atoi("12") + strcmp("a", "b"));
  free(p);
  show_numbers();
  show_memory();
  show_files();
  show_processes();
  exit(0);
}
