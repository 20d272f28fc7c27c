// The kernel below and beside kernel/fs, on the host: processes are threads, the disk is memory.
#pragma once
#include "kernel/types.h"

// User memory is [ARENA, ARENA_BAD); what follows, to the end of user addresses, is not mapped.
#define ARENA 0x10000000UL
#define ARENA_BAD (ARENA + (1UL << 20))

void shim_init(const char *image); // reads the image; exits with status 2 if it can't
void shim_process(int pid);        // this thread is a process from now on, in the root directory, without files
void shim_write_back(const char *image);
void shim_trace(const char *path); // writes what reaches the disk to a file: see disk.c
void shim_mark(uint op, uint synced, uint64 state);
void shim_fail_block(uint block); // reads of this block fail; 0: none do
void shim_fail_write(uint n);     // the nth block written, or flush, fails, done or not; 0: none does
uint shim_writes(void);           // how many there have been

extern __thread int shim_racing; // span_check() finds fine what a copy will not
extern int shim_threads;         // is more than one process running?

long call(uint64 (*function)(void), uint64 a0, uint64 a1, uint64 a2); // a system call of this process
uint64 random_below(uint64 n);                                        // this thread's generator
void seed_random(uint64 seed);
void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...);
