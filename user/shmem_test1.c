// shmem_test1: a parent writes a message, its child maps the parent's memory and prints it. Nobody unmaps anything:
// both exits have to clean up. Exit status 0 if the child read the message through the mapping.
#include "kernel/types.h"
#include "user/user.h"

#define SIZE 64 // bytes shared

static char message[SIZE]; // the parent's

// In the child: wait until the parent has written (the pipe tells), then read through the mapping, not fork's copy.
static int child(int parent, int ready) {
  char go;
  if (read(ready, &go, 1) != 1) {
    fprintf(2, "shmem_test1: the parent gave up\n");
    return 1;
  }
  char *shared = (char *)map_shared_pages(parent, getpid(), (uint64)message, SIZE);
  if (shared == (char *)-1) {
    fprintf(2, "shmem_test1: the child cannot map the parent's memory\n");
    return 1;
  }
  printf("child: reads \"%s\"\n", shared);
  return strcmp(shared, "Hello child") != 0;
}

int main(void) {
  int parent = getpid(), ready[2], status = 1;
  if (pipe(ready) < 0) {
    fprintf(2, "shmem_test1: out of files\n");
    return 1;
  }
  strcpy(message, "not written yet");
  int pid = fork();
  if (pid == 0)
    return child(parent, ready[0]);
  if (pid < 0) {
    fprintf(2, "shmem_test1: cannot fork\n");
    return 1;
  }
  strcpy(message, "Hello child"); // after the fork: the child has it only through the mapping
  write(ready[1], "!", 1);
  wait(&status);
  return status;
}
