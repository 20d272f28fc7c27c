// Pipes: a bounded stream of bytes between two open files. fs/file.c calls these for files of type FD_PIPE.
#pragma once
#include "kernel/mm/user.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"

struct file;

#define PIPESIZE (PGSIZE - 64) // bytes it holds; with the fields before them, one frame
#define PIPE_ATOMIC 512        // a write of at most so many bytes stays in one piece among other writers'

struct pipe {
  struct spinlock lock; // guards all of this
  uint64 nread, nwrite; // bytes read and written since it was made; [nread, nwrite) modulo PIPESIZE are in data
  char readopen, writeopen;
  uchar readers, writers; // processes that sleep for data, for room
  char data[PIPESIZE];
};

int pipealloc(struct file **read_end, struct file **write_end); // 0, or -1 with neither made
void pipeclose(struct pipe *p, int writable);                   // one end goes; the second one frees the pipe
// Bytes read; 0 at the end of the stream or for none asked; -1, with nothing taken, for a bad buffer or if killed.
int piperead(struct pipe *p, struct span dst);
// All of src; -1 without a reader, for a bad buffer (nothing written) or if killed.
int pipewrite(struct pipe *p, struct span src);
