// shmem_test2: a child maps its parent's memory and writes a message, which the parent prints; the child shows its size
// before and after mapping, after unmapping, and after a malloc that needs new memory.
// Exit status 0 if the message arrived and the sizes are what they must be.
#include "kernel/types.h"
#include "user/user.h"

#define SIZE 64                // bytes shared
#define ALLOCATION (64 * 1024) // more than malloc has in hand

static char message[SIZE]; // the parent's

static uint64 show_size(const char *when) {
  uint64 size = (uint64)sbrk(0);
  printf("child: size %lu %s\n", size, when);
  return size;
}

static int fail(const char *what) {
  fprintf(2, "shmem_test2: %s\n", what);
  return 1;
}

static int child(int parent) {
  uint64 before = show_size("before mapping");
  char *shared = (char *)map_shared_pages(parent, getpid(), (uint64)message, SIZE);
  if (shared == (char *)-1)
    return fail("the child cannot map the parent's memory");
  uint64 mapped = show_size("after mapping");
  strcpy(shared, "Hello daddy");
  if (unmap_shared_pages(getpid(), (uint64)shared, SIZE) < 0)
    return fail("the child cannot unmap what it mapped");
  uint64 unmapped = show_size("after unmapping");
  char *block = malloc(ALLOCATION);
  if (block == 0)
    return fail("malloc fails after unmapping");
  memset(block, 'x', ALLOCATION);
  uint64 grown = show_size("after malloc");
  free(block);
  if (mapped <= before || unmapped != before || grown <= unmapped)
    return fail("the sizes are wrong");
  return 0;
}

int main(void) {
  int parent = getpid(), status = 1;
  strcpy(message, "not written yet");
  int pid = fork();
  if (pid == 0)
    return child(parent);
  if (pid < 0)
    return fail("cannot fork");
  wait(&status);
  printf("parent: reads \"%s\"\n", message);
  return status != 0 || strcmp(message, "Hello daddy") != 0;
}
