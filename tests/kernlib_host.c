// The kernel's memory, string and formatting functions and the crypto server's work on a request, on the host, for
// test_kernlib.py. Names are moved out of libc's way.
#define memset k_memset
#define memcpy k_memcpy
#define memmove k_memmove
#define memcmp k_memcmp
#define strncmp k_strncmp
#define strlen k_strlen
#define strncpy k_strncpy
#define safestrcpy k_safestrcpy
#include "kernel/lib/string.c"
#include "kernel/lib/format.c"
#undef strlen
#undef memcpy
#undef memset
#undef memmove
#undef memcmp

int k_format(char *buf, int size, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vformat(buf, size, format, args);
  va_end(args);
  return n;
}

asm(".macro fence before, after\n.endm"); // the server's fence is RISC-V's
#define memcpy u_memcpy
#define memmove u_memmove
#define memset u_memset
#define memcmp u_memcmp
#define strlen u_strlen
#define printf u_printf
#define fprintf u_fprintf
#define malloc u_malloc
#define free u_free
#define exit u_exit
#define main crypto_srv_main
#include "user/crypto_srv.c"

void *memcpy(void *dst, const void *src, uint n) {
  return k_memcpy(dst, src, n);
}
int trace_mark(int event, uint64 a0, uint64 a1, uint64 a2, uint64 a3, uint64 a4) {
  (void)a0, (void)a1, (void)a2, (void)a3, (void)a4;
  return event == TRACE_STATE ? 0 : -1;
}
int getpid(void) {
  return CRYPTO_SRV_PID;
}
void fprintf(int fd, const char *format, ...) {
  (void)fd, (void)format;
}
int take_shared_memory_request(void **va, uint64 *size) {
  (void)va, (void)size;
  return -1;
}
int remove_shared_memory_request(void *va, uint64 size) {
  (void)va, (void)size;
  return -1;
}
void k_answer(struct crypto_op *op, uint64 size) {
  answer(op, size);
}
