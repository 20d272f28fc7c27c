// What a program may call: the system calls, and the library linked into every program.
// Names and types are those programs written for xv6 (2022 to 2026) expect; relies on kernel/types.h only.
//
// Calls that return int give 0 or a count on success and -1 on failure, with nothing changed.
#pragma once
#include "kernel/types.h"
#include "kernel/vm.h"

struct stat;
struct crypto_op;
struct procinfo;
struct meminfo;
struct trace_cursor;
struct trace_record;

// Processes
int fork(void); // child's pid; 0 in the child
int exit(int status) __attribute__((noreturn));
int wait(int *status); // pid of a child that exited; status may be 0
int kill(int pid);
int exec(const char *path, char **argv); // returns only to report failure
int getpid(void);
int sleep(int ticks); // tenths of a second
int pause(int ticks); // sleep() as xv6 2025 names it
int uptime(void);     // ticks since boot

// Files
int open(const char *path, int flags); // flags: kernel/fcntl.h
int close(int fd);
int read(int fd, void *buf, int n);        // bytes read, 0 at the end
int write(int fd, const void *buf, int n); // bytes written
int dup(int fd);
int pipe(int fds[2]); // fds[0] reads what fds[1] writes
int fstat(int fd, struct stat *st);
int mknod(const char *path, short major, short minor);
int link(const char *old, const char *new);
int unlink(const char *path);
int mkdir(const char *path);
int chdir(const char *path);
int sync(void);    // returns when all earlier writes survive a power cut
int fsync(int fd); // the same for one file

// Memory
char *sbrk(int n);              // old end of the heap, grown or shrunk by n bytes; SBRK_ERROR
char *sbrklazy(int n);          // the same, frames allocated when first touched
char *sys_sbrk(int n, int how); // how: SBRK_EAGER or SBRK_LAZY

// Memory shared between processes, and the crypto server's queue.
// One of the two processes must be the caller, and one an ancestor of the other.
uint64 map_shared_pages(int src_pid, int dst_pid, uint64 src_va, uint64 size); // address in the destination, or -1
int unmap_shared_pages(int pid, uint64 va, uint64 size);
int crypto_op(struct crypto_op *op, int size); // queue a request of size bytes, header included
int crypto_wait(struct crypto_op *op);         // 0 when the server has let go of it; -1 if the server died with it
int take_shared_memory_request(void **va, uint64 *size); // the server's: sleeps for a request and maps it
int remove_shared_memory_request(void *va, uint64 size); // the server's: unmaps it

// The state of the machine
int procinfo(struct procinfo *rows, int n); // rows filled, at most n; kernel/info.h
int meminfo(struct meminfo *info);
int trace_mark(int event, uint64 a0, uint64 a1, uint64 a2, uint64 a3, uint64 a4); // record a user event; -1: not one
uint64 trace_control(int what, uint64 value); // what: TRACE_GET_MASK ... of kernel/trace.h; -1
int trace_read(int hart, struct trace_cursor *cursor, struct trace_record *records, int n); // records read; -1
int shutdown(void);                                                                         // powers the machine off

// ulib.c
int stat(const char *path, struct stat *st);
char *strcpy(char *dst, const char *src);
char *strchr(const char *s, char c);
int strcmp(const char *a, const char *b);
uint strlen(const char *s);
void *memmove(void *dst, const void *src, int n);
void *memcpy(void *dst, const void *src, uint n);
void *memset(void *dst, int c, uint n);
int memcmp(const void *a, const void *b, uint n);
char *gets(char *buf, int max); // a line of standard input with its newline, cut at max - 1 bytes
int atoi(const char *s);

// printf.c. No format attribute: published programs would not compile with it.
void fprintf(int fd, const char *format, ...);
void printf(const char *format, ...);

// umalloc.c
void *malloc(uint n); // 16-byte aligned; 0 when memory is out
void free(void *p);
