// The user library on the host, for test_userlib.py: its sources with every name renamed out of libc's way, and under
// them a write() that records its calls and an sbrk() that can leave gaps and run dry.
#define printf u_printf
#define fprintf u_fprintf
#define malloc u_malloc
#define free u_free
#define write u_write
#define read u_read
#define sbrk u_sbrk
#define sbrklazy u_sbrklazy
#define sys_sbrk u_sys_sbrk
#define stat u_stat
#define fstat u_fstat
#define open u_open
#define close u_close
#define strlen u_strlen
#define strcpy u_strcpy
#define strcmp u_strcmp
#define strchr u_strchr
#define memset u_memset
#define memmove u_memmove
#define memcpy u_memcpy
#define memcmp u_memcmp
#define atoi u_atoi
#define gets u_gets
#include "user/ulib.c"
#include "user/umalloc.c"
#include "user/printf.c"

char written[1 << 16];
int written_bytes, written_calls;

int write(int fd, const void *buf, int n) {
  (void)fd;
  memmove(written + written_bytes, buf, n);
  written_bytes += n;
  written_calls++;
  return n;
}

static char arena[1 << 24] __attribute__((aligned(4096)));
uint64 arena_used;
uint64 arena_size = sizeof(arena); // beyond it there is no memory

char *sys_sbrk(int n, int how) {
  (void)how;
  if (n < 0 || arena_used + n > arena_size)
    return SBRK_ERROR;
  arena_used += n;
  return arena + arena_used - n;
}

const char *input; // what read() delivers
int input_reads;

int read(int fd, void *buf, int n) {
  (void)fd;
  input_reads++;
  for (int i = 0; i < n; i++) {
    if (input[0] == 0)
      return i;
    ((char *)buf)[i] = *input++;
  }
  return n;
}

int open(const char *path, int flags) {
  (void)path, (void)flags;
  return -1;
}

int close(int fd) {
  (void)fd;
  return -1;
}

int fstat(int fd, struct stat *st) {
  (void)fd, (void)st;
  return -1;
}
